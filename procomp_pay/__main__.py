"""``python -m procomp_pay``: the same as the console script."""

from procomp_pay.cli.main import run

if __name__ == "__main__":
    run()
