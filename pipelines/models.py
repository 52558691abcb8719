"""The verb `models`: which face models there are, whether a user's files are one, and what it looks like."""

import argparse
import textwrap

from facefill.errors import UserError
from facefill.geometry.face_models import MODEL_KINDS, ModelKind, open_model
from facefill.geometry.model_checks import ModelCheck, check_model
from facefill.geometry.model_preview import preview
from facefill.geometry.morphable_model import MorphableModel, checksum, save_model
from facefill.geometry.uv_distortion import model_distortion
from pipelines import storage
from pipelines.contact_sheet import encoded, tile

WIDTH = 100
INDENT = 14


def show_models(options: argparse.Namespace) -> None:
    """List the kinds, or open one, check it and write what was asked for.

    Raises UserError for arguments that have no use, for files that are no such model, and for a model that
    fails a check.
    """
    check_outputs(options)
    if options.kind is None:
        list_models()
        return
    model = open_model(options.kind, options.path, options.landmarks)
    checks = check_model(model)
    print_facts(model)
    print_checks(checks)
    print_distortion(model)
    if options.preview is not None:
        storage.write_bytes(str(options.preview), encoded(tile(preview(model)), "PNG"))
        print(options.preview)
    failed = [check.name for check in checks if not check.passed]
    if failed:
        raise UserError(f"model {model.name}: {', '.join(failed)} failed; see the table above")
    if options.save is not None:
        options.save.parent.mkdir(parents=True, exist_ok=True)
        save_model(model, options.save)
        print(options.save)
    print(f"to use it: facefill run CONFIG {' '.join(settings_of(options))}")


def check_outputs(options: argparse.Namespace) -> None:
    """Raise UserError for files that would not be written, or not under their name."""
    given = {"--landmarks": options.landmarks, "--preview": options.preview, "--save": options.save}
    if options.kind is None:
        useless = [name for name, value in given.items() if value is not None]
        if useless:
            raise UserError(
                f"{', '.join(useless)} without a model: write `facefill models KIND [PATH]` before"
            )
    for name, suffix in (("--preview", ".png"), ("--save", ".npz")):
        if given[name] is not None and given[name].suffix.lower() != suffix:
            raise UserError(f"{name} {given[name]} would hold {suffix[1:].upper()}: give a name in {suffix}")


def list_models() -> None:
    """Every kind: what it is, which files, which licence; of the default what it holds."""
    for kind in MODEL_KINDS:
        print(kind.name)
        for label, text in lines_of(kind):
            first = f"  {label:<{INDENT - 2}}"
            print(textwrap.fill(text, WIDTH, initial_indent=first, subsequent_indent=" " * INDENT))
        print()


def lines_of(kind: ModelKind) -> list[tuple[str, str]]:
    """Labelled lines about a kind."""
    lines = [("what", kind.title), ("files", kind.files), ("licence", kind.licence)]
    if kind.needs_path:
        return [*lines, ("check", f"facefill models {kind.name} PATH --preview {kind.name}.png")]
    return [*lines, *facts_of(open_model(kind.name))]


def facts_of(model: MorphableModel) -> list[tuple[str, str]]:
    """Labelled lines about a model."""
    identity = int((model.identity_sigma > 0).sum())
    expression = int((model.expression_sigma > 0).sum())
    components = f"{identity} of identity, {expression} of expression, {len(model.albedo_basis)} of skin"
    return [
        ("name", model.name),
        ("mesh", f"{len(model.mean):,} vertices, {len(model.triangles):,} triangles"),
        ("components", components),
        ("checksum", checksum(model)),
    ]


def print_facts(model: MorphableModel) -> None:
    """A model's name, counts and checksum."""
    for label, text in facts_of(model):
        print(f"{label:<{INDENT}}{text}")


def print_checks(checks: list[ModelCheck]) -> None:
    """One line a check: verdict, name, figure."""
    widest = max(len(check.name) for check in checks)
    for check in checks:
        print(f"{'ok' if check.passed else 'FAILED':<{INDENT}}{check.name:<{widest}}  {check.figure}")


def print_distortion(model: MorphableModel) -> None:
    """How far the texel map is from the surface, at 5, 50 and 95 % of its area."""
    print(f"{'texel map':<{INDENT}}{'area':<20}{'angle':<20}{'texels':>8}{'atlas':>9}  (at 5 / 50 / 95 %)")
    for part, found in zip(("whole", "inner face"), model_distortion(model), strict=True):
        area, angle = (" / ".join(f"{value:.2f}" for value in values) for values in (found.area, found.angle))
        print(f"{part:<{INDENT}}{area:<20}{angle:<20}{found.texels:>8,.0f}{found.coverage:>9.1%}")


def settings_of(options: argparse.Namespace) -> list[str]:
    """The settings by which a run takes this model."""
    if options.save is not None:
        return ["model.kind=saved", f"model.path={options.save}"]
    given = {"path": options.path, "landmarks": options.landmarks}
    return [f"model.kind={options.kind}", *(f"model.{key}={value}" for key, value in given.items() if value)]
