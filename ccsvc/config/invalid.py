"""The one error of a configuration: it carries every fault at once. It knows nothing of how they were found."""

from collections.abc import Sequence
from pathlib import Path

from ccsvc.domain.consistency import Fault
from ccsvc.errors import ConfigError


class InvalidConfigError(ConfigError):
    """The file can't be used. `faults` has at least one; `path` and `problem` are those of the first."""

    def __init__(self, file: Path, faults: Sequence[Fault]) -> None:
        first = faults[0]
        super().__init__(first.path, f"expected {first.expected}, found {first.found}; {first.remedy}")
        self.file = file
        self.faults = tuple(faults)

    def __str__(self) -> str:
        count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        return "\n".join([f"{self.file}: {count}", *(f"  {fault}" for fault in self.faults)])
