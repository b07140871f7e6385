"""An AtlasError as the one line that ends a command, with the options that would mend it."""

from atlas.errors import AtlasError

OPTIONS = {
    "against_template": "`atlas select --negatives --keep-default`",
    "at_the_baseline": "`atlas select --run RUN --preset paper --ratio 0.5 --keep-default`",
    "by_activation": "`atlas index --method activation`",
    "adapter": "--adapter DIR",
    "any_object": "--any-object",
    "cases": "--cases DIR",
    "changes": "--from FILE",
    "common": "--common SHARE",
    "controls": "--controls N",
    "data": "--data PATH",
    "delta": "--delta FILE",
    "device": "--device auto",
    "each": "--each",
    "edits": "--edits N",
    "edit_id": "--edit EDIT",
    "directory": "--to DIR",
    "dtype": "--dtype float32",
    "experiment": "EXPERIMENT",
    "fail_over": "--fail-over LIMITS",
    "fact": "--fact FACT",
    "file": "--to FILE",
    "force": "--force",
    "frequency": "--frequency SHARE",
    "forecast": "--forecast",
    "gpus_per_worker": "--gpus-per-worker SHARE",
    "interactions": "--interactions",
    "known_only": "`atlas select --all-facts`",
    "lambda1": "--lambda1 WEIGHT",
    "lambda2": "--lambda2 WEIGHT",
    "layer": "--layer N",
    "layers": "--layers N",
    "limit": "--limit N",
    "measure": "`atlas query --interference FACT --measure`",
    "method": "--method METHOD",
    "min_prompts": "--min-prompts N",
    "model": "--model PATH",
    "neurons": "--neurons N",
    "neurons_per_layer": "--neurons-per-layer N",
    "null": "--null",
    "path": "--db FILE or ATLAS_DB",
    "port": "--port N or --host ADDRESS",
    "position": "--at",
    "protocol": "--protocol PROTOCOL",
    "ray": "--ray local",
    "relation": "--relation RELATION",
    "report": "--report FILE",
    "run": "--run RUN",
    "sample": "--sample SHARE|N",
    "scope": "--scope SCOPE",
    "selection": "--selection SELECTION",
    "shard": "--shard K/N",
    "size": "--size SIZE",
    "spare_on": "--spare-on FILE",
    "target": "--to FILE",
    "templates": "--templates N",
    "texts": "--ask TEXT",
    "to": "--to OBJECT",
    "tokens": "--tokens N",
    "undo": "`atlas edit revert EDIT --undo`",
    "workers": "--workers N",
}
"""How a parameter of the library is said on the command line."""


def error_line(error: AtlasError) -> str:
    """The error's message and, in brackets, the options that its parameters are."""
    line = " ".join(str(error).split("\n"))
    options = [OPTIONS[name] for name in error.parameters if name in OPTIONS]
    return f"{line} ({', '.join(options)})" if options else line
