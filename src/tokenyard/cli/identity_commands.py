"""The commands of `tokenyard keys`, `people`, `projects` and `audit`, and their options."""

import os
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from tokenyard.cli.found import settings_beside
from tokenyard.cli.told import told_in_words

if TYPE_CHECKING:
    from tokenyard.cli.accounts import Files

_ROLES = ["owner", "admin", "developer", "viewer"]


def works_beside(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the data folder's own people as its first argument."""

    @told_in_words
    @wraps(command)
    def run(*args: Any, **options: Any) -> Any:
        from tokenyard.cli.accounts import Files
        from tokenyard.runtime.settings import home_folder

        home = home_folder(os.environ)
        return command(Files(settings_beside(home), home), *args, **options)

    return run


_PROJECT = click.option(
    "--project", default="proj_default", show_default=True, help="The project's id."
)
_JSON = click.option("--json", "as_json", is_flag=True, help="As JSON, for scripts.")


@click.command("sign-in-link")
@click.option("--url", help="Address of the page.  [default: the one that `up` listens on]")
@click.option("--email", help="Whom it signs in.  [default: the first owner]")
@works_beside
def sign_in_link(files: "Files", url: str | None, email: str | None) -> None:
    """Print a new one-time link that signs a browser in."""
    click.echo(files.make_sign_in_link(url, email))


@click.group()
def keys() -> None:
    """Make, list, rotate and revoke API keys."""


@keys.command("create")
@click.option("--name", required=True, help="What the key is for; shown in lists.")
@_PROJECT
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    help="A permission it has, such as inference; `*` for all that the first owner has. Without "
    "it the usual ones, which manage neither keys nor people.",
)
@click.option("--model", "models", multiple=True, help="A model it may use.  [default: all]")
@click.option("--days", type=click.FloatRange(0, min_open=True), help="How long it works.")
@works_beside
def create_key(files: "Files", name: str, project: str, **terms: Any) -> None:
    """Print a new key, and nothing else, on standard output. It is shown only now."""
    click.echo(files.create_key(name, project, **terms))


@keys.command("list")
@_PROJECT
@_JSON
@works_beside
def list_keys(files: "Files", project: str, as_json: bool) -> None:
    """List all keys, revoked ones too; the secrets themselves are not kept."""
    click.echo(files.list_keys(project, as_json=as_json))


@keys.command("rotate")
@click.argument("key_id")
@_PROJECT
@click.option(
    "--overlap",
    "overlap_seconds",
    type=click.FloatRange(0),
    default=3600,
    show_default=True,
    help="Seconds that the secret before works on.",
)
@works_beside
def rotate_key(files: "Files", key_id: str, project: str, overlap_seconds: float) -> None:
    """Print a new secret for the key with this id, and nothing else. It is shown only now."""
    click.echo(files.rotate_key(key_id, project, overlap_seconds))


@keys.command("revoke")
@click.argument("key_id")
@_PROJECT
@works_beside
def revoke_key(files: "Files", key_id: str, project: str) -> None:
    """Make the key with this id (`key_…`) worthless, within a second."""
    files.revoke_key(key_id, project)
    click.echo(f"revoked {key_id}")


@click.group()
def people() -> None:
    """Invite, list and remove people."""


@people.command("list")
@_JSON
@works_beside
def list_people(files: "Files", as_json: bool) -> None:
    """List the people of the first organisation."""
    click.echo(files.list_people(as_json=as_json))


@people.command("invite")
@click.argument("email")
@click.option(
    "--role",
    type=click.Choice(_ROLES),
    default="viewer",
    show_default=True,
    help="In the organisation; owners and admins are that in every project.",
)
@_PROJECT
@click.option(
    "--project-role",
    type=click.Choice(_ROLES),
    default="developer",
    show_default=True,
    help="In the project.",
)
@click.option("--operator", is_flag=True, help="May run nodes, model servers and tenants.")
@click.option("--url", help="Address of the page.  [default: the one that `up` listens on]")
@works_beside
def invite(files: "Files", email: str, **options: Any) -> None:
    """Print a link that makes its bearer a user, once. No mail is sent."""
    click.echo(files.invite(email, **options))


@people.command("remove")
@click.argument("user_id")
@works_beside
def remove(files: "Files", user_id: str) -> None:
    """Take away somebody's sessions, keys and memberships."""
    files.remove_person(user_id)
    click.echo(f"removed {user_id}")


@click.group()
def projects() -> None:
    """Make, list and archive projects."""


@projects.command("list")
@_JSON
@works_beside
def list_projects(files: "Files", as_json: bool) -> None:
    """List the projects of the first organisation, archived ones too."""
    click.echo(files.list_projects(as_json=as_json))


@projects.command("create")
@click.argument("name")
@works_beside
def create_project(files: "Files", name: str) -> None:
    """Make a project and print its id."""
    click.echo(files.create_project(name))


@projects.command("archive")
@click.argument("project_id")
@works_beside
def archive_project(files: "Files", project_id: str) -> None:
    """Close a project for everybody; what it holds stays."""
    files.archive_project(project_id)
    click.echo(f"archived {project_id}")


@click.group()
def audit() -> None:
    """The audit log: who did what to which object."""


@audit.command("check")
@click.option("--organisation", default="org_default", show_default=True, help="Whose log.")
@works_beside
def check_audit(files: "Files", organisation: str) -> None:
    """Follow the chain of entries from the first to the last; fails where it is broken."""
    click.echo(files.check_audit(organisation))
