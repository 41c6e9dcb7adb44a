"""What configurations of others claim, and what of it holds: `privrobust check`.

Readers (`flower_app`, `nvflare_job`, `own_spec`) make claims of what is written; one module a
mechanism says what each guarantees. Nothing that is read is run or imported.

>>> from privrobust.federated.check.claims import LocalNoise
>>> from privrobust.federated.check.verdicts import findings
>>> claim = LocalNoise(
...     where="client_app, line 3", what="LocalDpMod", clipping_norm=1.0, sensitivity=1.0,
...     epsilon=1.0, delta=1e-5, rounds=100,
... )
>>> found = findings([claim])[0]
>>> found.verdict, round(found.holds, 1)
('does not hold', 10.4)
"""
