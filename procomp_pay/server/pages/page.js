// Keep the page of a payment up to date: the server sends its content whenever it changes.
"use strict";
(() => {
  const main = document.querySelector("main");
  let wait = 2000;
  let ticking;

  function countDown() {
    clearInterval(ticking);
    const clock = main.querySelector("[data-left]");
    if (!clock) return;
    const end = Date.now() + clock.dataset.left * 1000;
    const tick = () => {
      const left = Math.max(0, Math.ceil((end - Date.now()) / 1000));
      clock.textContent = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
    };
    tick();
    ticking = setInterval(tick, 250);
  }

  function follow() {
    const source = new EventSource(main.dataset.events);
    source.onopen = () => {
      wait = 2000;
      document.body.classList.remove("offline");
    };
    source.onmessage = (event) => {
      if (event.lastEventId === main.dataset.version) return;
      main.dataset.version = event.lastEventId;
      main.innerHTML = event.data;
      countDown();
    };
    source.addEventListener("end", () => source.close());
    source.onerror = () => {
      document.body.classList.add("offline");
      if (source.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
      setTimeout(follow, wait);
      wait = Math.min(60000, wait * 2);
    };
  }

  countDown();
  if (main.dataset.events) follow();
})();
