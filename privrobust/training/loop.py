"""Noisy medianSGD and signSGD with clipped per-sample gradients.

The loop in `train_lanes` is the algorithm: Chen et al. 2020, Algorithms 1 (signSGD) and 2
(medianSGD), with noise on every gradient before it is sent, and with clipping, local steps,
momentum, attacks and other rules. docs/training_step.md has it as a box.

Many runs that share shapes train as one tensor program: parameters are `(lanes, dim)`, messages
`(lanes, workers, dim)`, and a single run is one lane.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy

import torch

from privrobust.core.allocator import keep_freed_memory
from privrobust.core.devices import in_full_precision, resolve_device
from privrobust.core.threads import one_layer_of_threads
from privrobust.data import get_dataset
from privrobust.errors import PrivRobustError
from privrobust.gradients.layout import Layout
from privrobust.gradients.losses import get_loss
from privrobust.models.validation import EXAMPLES, initial_parameters
from privrobust.spec import RunSpec
from privrobust.training.attack_success import AttackSuccess
from privrobust.training.batches import honest_batches
from privrobust.training.byzantine import ByzantineWorkers
from privrobust.training.evaluation import Evaluator
from privrobust.training.fit import fitted_at, fitted_examples
from privrobust.training.gradient_bounds import GradientBounds
from privrobust.training.held_out import evaluated_on
from privrobust.training.lanes import distinct
from privrobust.training.local_steps import LocalSteps
from privrobust.training.measures import measure
from privrobust.training.messages import HonestMessages
from privrobust.training.noise import Perturbation
from privrobust.training.optimizer import Descent
from privrobust.training.privacy_plan import PrivacyPlan
from privrobust.training.public_gradients import PublicGradients
from privrobust.training.records import Records
from privrobust.training.result import RunResult, proven_kappa
from privrobust.training.server import Messages, Server, rule_key, rules_of
from privrobust.training.watch import NOBODY, Watch
from privrobust.training.workers import Clipping, Momentum, clipped_gradients


def train(spec: RunSpec) -> RunResult:
    """Train one run.

    Raises:
        SpecError: the settings contradict the data or the model.
        PrivRobustError: a gradient broke `grad_norm_bound`.

    """
    PrivacyPlan(spec).warn_of_large_delta()
    result = train_lanes([spec])[0]
    if result.failure:
        raise PrivRobustError(result.failure)
    return result


@in_full_precision()
@one_layer_of_threads()
def train_lanes(
    specs: Sequence[RunSpec],
    on_step: Callable[[], object] = lambda: None,
    watch: Watch = NOBODY,
) -> list[RunResult]:
    """Train runs side by side; each gets the result it would get alone.

    They are of equal `lane_shape` (`privrobust.sweeps.packing`). Each draws the numbers that it
    would draw alone. Of models that are chains of layers (`privrobust.gradients.chain`), on a
    processor, sums have the same bits as well; of others they may round otherwise.

    Args:
        specs: the runs.
        on_step: called after every step, for progress.
        watch: an audit of these runs, which then have one rule, so that they keep their order.

    Returns:
        Their results, in the order of `specs`, each with the spec that its `PrivacyPlan` has found.
        A run that broke its `grad_norm_bound` has a `failure` in place of an accuracy.

    """
    keep_freed_memory()
    # lanes that share a rule stand side by side, so that the server aggregates them as one
    order = sorted(range(len(specs)), key=lambda place: rule_key(specs[place]))
    plans = [PrivacyPlan(specs[place]) for place in order]
    lanes = [plan.spec for plan in plans]
    budgets = [plan.spent for plan in plans]  # refuses, before a step, what cannot be accounted for

    shared, steps = lanes[0], plans[0].steps
    device = resolve_device(shared.device)
    dataset = get_dataset(shared.dataset, shared.data_dir)
    train_split = dataset.train.to(device)
    held_out = evaluated_on(shared, dataset).to(device)
    seeds, seed_of = distinct([spec.stream_seed for spec in lanes], device)
    model, starts = initial_parameters(shared.model, dataset, seeds)
    model, parameters = deepcopy(model).to(device), starts.to(device)[seed_of]
    layout, rules = Layout(model), list(rules_of(lanes))

    evaluate = Evaluator(model, layout, held_out.examples(slice(1)), get_loss(shared.loss))
    fitted, last_steps = fitted_examples(train_split, len(held_out)), fitted_at(lanes, steps)
    succeed = AttackSuccess(lanes, rules, dataset, evaluate, device)
    gradients = clipped_gradients(shared, model, layout, train_split.examples(slice(EXAMPLES)))
    clip_and_average = Clipping(lanes, watch.plant(gradients, layout), layout, device)
    bounds = GradientBounds(lanes)
    messages = Messages(rules, (len(lanes), shared.honest, layout.dim), device)
    perturb = Perturbation(plans, (shared.honest, layout.dim), device)
    batches = honest_batches(lanes, dataset, train_split, steps * shared.local_steps)
    take_local_steps = LocalSteps(lanes, steps, batches, clip_and_average, perturb, device)
    remember = Momentum(lanes, device)
    send = HonestMessages(lanes, rules)
    attack = watch.help(ByzantineWorkers(plans, rules, gradients, layout, dataset, train_split))
    public = PublicGradients(lanes, steps, rules, gradients, layout, dataset, device)
    aggregate = Server(lanes, rules, device, public)
    descend = Descent(lanes, parameters, steps)
    update = torch.full_like(parameters, torch.nan)
    records = Records(lanes, len(held_out))

    for step in range(1, steps + 1):
        is_evaluated = step % shared.evaluate_every == 0 or step == steps
        # Each honest worker, once or `local_steps` times, from x and then from where that led,
        # 1. draws a batch S of its examples;
        # 2. clips the gradient of each and averages, v = 1/B sum_{z in S} min(1, C / |g_z|) g_z;
        # 3. adds noise, v <- v + b xi, and adds up what it has of these v;
        vectors, norms, wanted = take_local_steps(parameters, messages.new(), is_evaluated)
        bounds.check(step, norms)  # of runs that state a bound on |g_z| in place of C
        # 4. may keep a momentum, v <- m <- beta m + (1 - beta) v;
        vectors = remember(vectors)
        # 5. sends v, or its sign to a server that counts votes.
        messages.honest = send(vectors)
        # The Byzantine workers
        # 6. see all of that, or less, and send what their attack crafts.
        messages.byzantine = attack(messages.honest, parameters)
        # The server
        # 7. aggregates, u = median(messages), or sign(sum of signs), or by another rule;
        previous, update = update, aggregate(messages, parameters)
        # 8. steps, x <- x - lr u, with momentum and weight decay if any.
        parameters = descend(step, parameters, update)
        watch.see(step, messages, update, parameters)
        # 9. Now and then x is evaluated on held-out examples, at last on training examples too, and
        #    u held against what was sent.
        if wanted is not None:
            measures = measure(messages.honest, update, previous, wanted)
            records.add(step, evaluate(parameters, held_out), succeed(parameters), measures)
            if step in last_steps:
                records.add_fit(evaluate(parameters, fitted).means)
        on_step()
        if bounds.broken_by_all():
            break

    results: dict[int, RunResult] = {}
    for lane, place in enumerate(order):
        train_accuracy, train_loss = records.fit(lane)
        result = RunResult(
            spec=lanes[lane],
            spent=budgets[lane],
            history=records.history(lane),
            correct=records.correct(lane),
            train_accuracy=train_accuracy,
            train_loss=train_loss,
            steps=steps,
            dim=layout.dim,
            kappa_bound=proven_kappa(lanes[lane]),
        )
        failure = bounds.failures.get(lane)
        results[place] = result.ended_by(failure) if failure else result
    return [results[place] for place in range(len(specs))]
