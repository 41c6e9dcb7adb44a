"""The results store: what is finished is never lost, never half-written and never done twice."""

from privrobust.core.displayed import Displayed, told
from privrobust.store.reading import Reading
from privrobust.store.writing import Writing


class Store(Displayed, Writing, Reading):
    """Results of runs: an SQLite file, or a PostgreSQL database that many machines share.

    - **A run is done once.** It is a row from the moment that a process claims it. A claim is a
      lease: whoever holds it renews it, and others take the run over once the lease has run out or
      its holder is seen to be gone. What is done stays as it was first written.
    - **A run is written whole.** Its results, its history and its failure arrive in one
      transaction, and so do all runs of one call; an interrupt waits for its end.
    - **What is finished is kept.** A database that is away or full is waited for; one that is
      damaged is said to be, and is left as it is.
    - **Names keep their data.** A store knows a fingerprint of every dataset that it has results
      of, and refuses results of other data under its name.

    Opening makes a store where there is none. One of the two versions before is given the columns
    that it lacks, and loses nothing. How a database keeps this is in
    `privrobust.store.base.Backend`.

    Args:
        location: a path, `sqlite:///results.db` or `postgresql://user@host/database`.
        create: make it where there is none.

    Raises:
        PrivRobustError: no store of this version is there, nor can one be made. Of every method:
            the database stays away or full, or is damaged.

    >>> import tempfile
    >>> from privrobust import RunSpec
    >>> spec = RunSpec(clip_norm=1.0, noise_scale=0.1)
    >>> with tempfile.TemporaryDirectory() as folder, Store(f"{folder}/results.db") as store:
    ...     mine = store.claim([spec])
    ...     held = store.keys("running")
    >>> mine == [spec], held == {spec.key}
    (True, True)
    """

    def __repr__(self) -> str:
        """Say where it is and how many runs it has, where the database answers at once."""
        counts = self.counts_now()
        if counts is None:
            facts = ["its database does not answer"]
        else:
            facts = [f"{count} {status}" for status, count in counts.items() if count] or ["no run"]
        return told(type(self).__name__, self.location, facts)
