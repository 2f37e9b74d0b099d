"""What `taskdb --help` is compared with: a Typer app that does nothing."""

import typer

app = typer.Typer()


@app.command()
def one(name: str, *, loud: bool = False) -> None:
    """Do one thing."""


@app.command()
def other(number: int = 1) -> None:
    """Do the other."""


if __name__ == "__main__":
    app()
