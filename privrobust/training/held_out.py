"""Which held-out examples a run is evaluated on, and which a rule may be given."""

from privrobust.aggregators import get_aggregator
from privrobust.core.numbers import shown
from privrobust.data import Dataset, Split
from privrobust.errors import SpecError
from privrobust.spec import RunSpec


def divides_validation(spec: RunSpec) -> bool:
    """Tell whether both its results and its rule's public examples are of the validation split."""
    if spec.evaluate_on != "validation":
        return False
    return bool(get_aggregator(spec.aggregator, spec.byzantine).public_examples)


def evaluated_on(spec: RunSpec, dataset: Dataset) -> Split:
    """Return the split that a run's results are of; where it divides validation, one half of that.

    Raises:
        SpecError: there is nothing in it.

    """
    held_out = dataset.held_out(spec.evaluate_on)
    if not divides_validation(spec):
        return held_out
    if len(held_out) < 2:
        raise SpecError(
            f"evaluate_on: validation, as in tuning, with aggregator {shown(spec.aggregator)}, "
            f"whose public examples are of that split; dataset {dataset.name} has one in it; "
            "accepted: test, or a dataset with 2 or more"
        )
    return dataset.halves_of_validation[1]


def public_pool(spec: RunSpec, dataset: Dataset) -> Split:
    """Return what its rule's public examples are drawn from: no result is of any of these."""
    return dataset.halves_of_validation[0] if divides_validation(spec) else dataset.validation


def refuse_too_many(spec: RunSpec, dataset: Dataset) -> None:
    """Refuse a rule that wants more public examples than there are.

    Raises:
        SpecError: it does.

    """
    many = get_aggregator(spec.aggregator, spec.byzantine).public_examples
    most = len(public_pool(spec, dataset))
    if many <= most:
        return
    accepted = f"1 to {most}, as many as the validation split has"
    if divides_validation(spec):
        accepted = (
            f"1 to {most}, as many as half of the validation split has, with evaluate_on: "
            "validation, which takes the other half"
        )
    if not most:
        accepted = "a dataset with validation above 0, of which they are"
    raise SpecError(
        f"aggregator: {spec.aggregator} wants {many} public examples; accepted: {accepted}"
    )
