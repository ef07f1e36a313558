"""Which sentences this contact centre needs: those of its menus, and the daemon's own."""

from collections.abc import Iterable, Iterator

from ccsvc.app.ports_speech import Prompt
from ccsvc.domain.ivr import prompt_name
from ccsvc.settings import Settings


def wanted(settings: Settings, builtin: Iterable[Prompt]) -> Iterator[Prompt]:
    """Every prompt that may be played, once in each language that it is written in."""
    yield from builtin
    for name, ivr in settings.ivr.items():
        for node_name, node in ivr.node.items():
            for language, text in node.say.items():
                yield Prompt(prompt_name(name, node_name), language, text)
