"""The results store: what is finished is never lost, never half-written and never done twice.

>>> from privrobust.store import Store
>>> Store  # doctest: +ELLIPSIS
<class 'privrobust.store...Store'>
"""

from typing import TYPE_CHECKING

from privrobust.core.lazy_imports import attributes

if TYPE_CHECKING:
    from privrobust.store.store import Store

__all__ = ["Store"]

__getattr__ = attributes(__name__, {"Store": "store"})
