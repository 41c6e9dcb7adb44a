"""Numbers of a configuration by name: what each means, what it may be, what others call it.

Flower's and NVFlare's settings have the names that their authors chose. `clipping-norm`,
`clip_norm` and `max_grad_norm` are one setting here; case, dashes and underscores do not matter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from privrobust.core.numbers import as_float, as_whole, own
from privrobust.errors import SpecError, in_short, shown, unknown_name
from privrobust.federated.check.unknown import Unknown

Kind = Literal["number", "positive", "probability", "share", "whole", "truth"]
Value = int | float | bool

_MOST = 10**9


@dataclass(frozen=True)
class Setting:
    """A number that a claim rests on."""

    name: str
    kind: Kind
    meaning: str
    """What is asked of the user."""
    others: tuple[str, ...] = ()
    """What it is called elsewhere."""

    def checked(self, value: object, place: str) -> Value:
        """Return a value of it, or refuse one that it cannot have."""
        field, value = f"{place}{self.name}", own(self.name, value)
        match self.kind:
            case "truth":
                if not isinstance(value, bool):
                    raise SpecError(f"{field}: {shown(value)} is not true or false")
                return value
            case "whole":
                return as_whole(field, value, "a whole number above 0", least=1, most=_MOST)
            case "number":
                return as_float(field, value, "a finite number, 0 or more", least=0.0)
            case "positive":
                return as_float(field, value, "a finite number above 0", above=0.0)
            case "probability":
                return as_float(
                    field, value, "between 0 and 1, both excluded", above=0.0, below=1.0
                )
            case "share":
                return as_float(field, value, "in (0, 1]", above=0.0, most=1.0)


SETTINGS: Mapping[str, Setting] = {
    setting.name: setting
    for setting in (
        Setting(
            "noise_multiplier",
            "number",
            "the noise's standard deviation over the clipping norm",
            ("dp_noise_multiplier", "noise_mult"),
        ),
        Setting(
            "noise_scale",
            "number",
            "b, the noise's standard deviation, or the scale of Laplace noise",
        ),
        Setting(
            "clipping_norm",
            "positive",
            "the norm to which an update or a gradient is clipped",
            ("clip_norm", "max_grad_norm", "l2_norm_clip", "dp_clipping_norm"),
        ),
        Setting(
            "sensitivity",
            "number",
            "the sensitivity that LocalDpMod is given",
            ("dp_sensitivity",),
        ),
        Setting(
            "epsilon",
            "positive",
            "the epsilon that is claimed",
            ("target_epsilon", "max_epsilon", "dp_epsilon"),
        ),
        Setting(
            "delta",
            "probability",
            "the probability that epsilon leaves out",
            ("target_delta", "dp_delta"),
        ),
        Setting(
            "rounds",
            "whole",
            "how many rounds of training there are",
            ("num_rounds", "num_server_rounds", "server_rounds", "n_rounds"),
        ),
        Setting(
            "num_sampled_clients",
            "whole",
            "the number of clients by which the server's noise is divided",
            ("sampled_clients",),
        ),
        Setting(
            "clients",
            "whole",
            "how many clients are connected",
            ("num_clients", "n_clients", "num_supernodes", "population_size", "num_partitions"),
        ),
        Setting(
            "largest_share",
            "share",
            "the most that one client weighs in a round's mean: 0.05 where 20 weigh the same in "
            "every round",
        ),
        Setting(
            "clips",
            "truth",
            "whether clients have the mod that clips, or clips and noises, among their mods",
        ),
        Setting(
            "secure_aggregation",
            "truth",
            "whether the server sees no client's message but only their sum, by a protocol that "
            "runs",
            ("secagg", "secure_agg"),
        ),
        Setting(
            "participation",
            "share",
            "the chance, by a coin that nobody sees, that a client does not send noise alone",
        ),
        Setting(
            "dataset_size",
            "whole",
            "the examples of the client that has the fewest",
            ("num_examples", "local_dataset_size"),
        ),
        Setting(
            "batch_size",
            "whole",
            "the examples of a batch of local training",
            ("local_batch_size",),
        ),
        Setting(
            "sampling_rate",
            "share",
            "the chance of an example to join a batch, fixed whatever the client holds",
        ),
        Setting(
            "local_steps",
            "whole",
            "how many steps a client takes in a round",
        ),
        Setting(
            "epochs",
            "whole",
            "how often a client goes through its data in a round",
            ("local_epochs", "num_epochs"),
        ),
        Setting(
            "claimed_epochs",
            "positive",
            "for how many epochs, of all rounds, make_private_with_epsilon is to find its noise",
        ),
        Setting(
            "engine_lasts",
            "truth",
            "whether one PrivacyEngine and its loader last over all rounds of a client",
        ),
        Setting(
            "parameters",
            "whole",
            "how many numbers are in a client's update",
            ("num_parameters", "model_size"),
        ),
    )
}


def plain_name(name: str) -> str:
    """Return a name without what does not matter: case, dashes, underscores."""
    return name.lower().replace("-", "").replace("_", "")


_BY_NAME = {
    plain_name(name): setting
    for setting in SETTINGS.values()
    for name in (setting.name, *setting.others)
}


def setting_called(name: str) -> Setting | None:
    """Return the setting that goes by that name, if one does."""
    return _BY_NAME.get(plain_name(name.rpartition(".")[2]))


@dataclass(frozen=True)
class Known:
    """What is known of settings: the user's answers, then what source says, then what files say."""

    config: Mapping[str, object] = field(default_factory=dict)
    """As written in a file, by whatever names."""
    answers: Mapping[str, Value] = field(default_factory=dict)
    """By names of `SETTINGS`."""
    place: str = ""
    """The file, for errors: `pyproject.toml: `."""

    def value(self, name: str, given: object = None, *, by_name: bool = True) -> Value | None:
        """Return the value of a setting, None where nothing says it.

        Args:
            name: that of the setting.
            given: what source says, which only an answer of the user outdoes; one that cannot be
                told is no reason to take another.
            by_name: whether a value of the file counts that only has such a name.

        Raises:
            SpecError: it is none that the setting can have, or the file has two.

        """
        setting = SETTINGS[name]
        if name in self.answers:
            return self.answers[name]
        if isinstance(given, Unknown):
            return None
        if given is not None:
            return setting.checked(given, self.place)
        if not by_name:
            return None
        found = {
            key: setting.checked(value, f"{self.place}{in_short(key)}, ")
            for key, value in self.config.items()
            if setting_called(key) is setting
        }
        if len(set(found.values())) > 1:
            pairs = " and ".join(f"{in_short(key)} = {value}" for key, value in found.items())
            raise SpecError(f"{self.place}{name}: {pairs} disagree; accepted: --set {name}=...")
        return next(iter(found.values()), None)

    def number(self, name: str, given: object = None, *, by_name: bool = True) -> float | None:
        """Return the same as a float."""
        value = self.value(name, given, by_name=by_name)
        return None if value is None else float(value)

    def whole(self, name: str, given: object = None, *, by_name: bool = True) -> int | None:
        """Return the same as an int."""
        value = self.value(name, given, by_name=by_name)
        return None if value is None else int(value)

    def truth(self, name: str, given: object = None) -> bool | None:
        """Return the same as a truth value."""
        value = self.value(name, given)
        return None if value is None else bool(value)


def answered(
    changes: Sequence[str], config: Mapping[str, object]
) -> tuple[dict[str, Value], dict[str, object]]:
    """Read what `--set` says: of settings, and of keys of the file, which it replaces.

    Args:
        changes: `name=value`, each once.
        config: what a file has.

    Raises:
        SpecError: a name is neither, one is given twice, or the text is of another form.

    """
    answers: dict[str, Value] = {}
    replaced = dict(config)
    keys = {plain_name(key): key for key in config}
    for change in changes:
        name, equals, text = change.partition("=")
        name, place = name.strip(), f"--set {in_short(change)}"
        if not (name and equals and text.strip()):
            raise SpecError(f"--set: {shown(change)} is not accepted; give name=value")
        value, setting = _read_at(place, text), setting_called(name)
        key = keys.get(plain_name(name))
        if setting is None and key is None:
            other = [key for key in config if setting_called(key) is None]
            raise unknown_name("--set", name, [*SETTINGS, *other])
        if key is not None:
            replaced[key] = value
        if setting is not None:
            if setting.name in answers:
                raise SpecError(f"--set: {setting.name} is given twice")
            answers[setting.name] = setting.checked(value, "--set ")
    return answers, replaced


def _read_at(place: str, text: str) -> object:
    """Read YAML that stands in one place, whatever its line."""
    from privrobust.sweeps.yaml_lines import parse

    return parse(text, place, lambda line: place)
