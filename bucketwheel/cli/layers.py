"""Commands about layers: layer publish, layers."""

from __future__ import annotations

from pathlib import Path

import click

from bucketwheel.cli.options import data_option, json_option, tell, timeout_option


@click.group()
def layer() -> None:
    """Publish layers: files that functions share below /opt."""


@layer.command()
@data_option
@click.argument("name")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@timeout_option
def publish(name: str, path: Path, timeout: float) -> None:
    """Publish a folder or .zip as the next version of a layer.

    Functions find it where AWS has it: python/ and nodejs/node_modules/ for modules, java/lib/ for
    jars, bin/ for programs, lib/ for shared libraries. The same content makes no new version.
    """
    from pydantic import ValidationError

    from bucketwheel.deploy import Deploy
    from bucketwheel.instance import fill_environment
    from workers.manifest import LayerDeclaration

    try:
        declared = LayerDeclaration(name=name)
    except ValidationError:
        allowed = "1 to 140 letters, digits, '-' or '_'"
        raise click.BadParameter(f"{name!r} must be {allowed}", param_hint="NAME") from None
    fill_environment()
    found = Deploy(tell).publish(declared, path, timeout)
    click.echo(f"{found.name}:{found.version}")


@click.command("layers")
@data_option
@json_option
def list_layers(as_json: bool) -> None:
    """List the layers that are published."""
    from bucketwheel.cli.output import at, print_json, print_table
    from bucketwheel.instance import fill_environment
    from storage.layers import LayerStore
    from storage.settings import StorageSettings

    fill_environment()
    found = LayerStore(StorageSettings.read()).all()
    if as_json:
        print_json([each.model_dump(mode="json") for each in found])
        return
    if not found:
        click.echo("none: bucketwheel layer publish NAME PATH adds one", err=True)
        return
    rows = [
        [each.name, each.version, ", ".join(each.runtimes) or "any", at(each.published_at)]
        for each in found
    ]
    print_table(["layer", ">version", "runtimes", "published"], rows)
