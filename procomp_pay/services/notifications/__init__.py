"""The outbox: route messages to destinations, write what each is told, deliver it with retries."""
