"""Runs on the Hugging Face Hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from hyperpeft.cli.common import AsJson, Quiet, Run

Repo = Annotated[str, typer.Argument(help="NAME/REPOSITORY on the hub.")]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit.")]


def hub_push(
    run: Run,
    repo: Repo,
    private: Annotated[bool, typer.Option("--private", help="Of a new repository.")] = False,
    revision: Revision = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Share a trained run, with a model card.

    Example: `hyperpeft hub push runs/sa me/salinas-krona`
    """
    from hyperpeft.export import hub  # loads torch

    address = hub.push(run, repo, private=private, revision=revision)
    if as_json:
        print(json.dumps({"repository": repo, "address": address}))
    elif not quiet:
        print(address)


def hub_pull(
    repo: Repo,
    to: Annotated[Path, typer.Option(help="Run folder to make.")],
    revision: Revision = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Fetch a shared run into a folder that maps at once.

    Example: `hyperpeft hub pull me/salinas-krona --to runs/pulled`
    """
    from hyperpeft.export import hub  # loads torch

    record = hub.pull(repo, to, revision=revision)
    if as_json:
        print(json.dumps({"repository": repo, "folder": str(to),
                          "method": record.adapter["method"]}))  # fmt: skip
    elif not quiet:
        print(f"{record!r} is in {to}")
