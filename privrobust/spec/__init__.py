"""What a run is: `RunSpec`, one immutable record of every setting that decides its result.

`RunFields` has its fields, each with all that the suite knows about it.

>>> RunSpec(byzantine=2, attack="sign_flip", noise_scale=0.1, clip_norm=1.0).workers
12
"""

from privrobust.spec.attack import AttackSpec
from privrobust.spec.run_fields import RunFields
from privrobust.spec.run_spec import RunSpec

__all__ = ["AttackSpec", "RunFields", "RunSpec"]
