"""The dialogs that Compare opens on its backbones and on the dataset of the task under its cursor."""

from __future__ import annotations

from ssl_console.analysis.published import PUBLISHED
from ssl_console.tui.host import host
from ssl_console.tui.screens.base import ConsoleScreen
from ssl_console.tui.views.compare import CompareTable
from tasks.catalog.protocols import is_descriptive


def measured(comparison: CompareTable) -> tuple[str, ...]:
    """The compared backbones without published rows."""
    return tuple(name for name in comparison.backbones if name and not name.endswith(PUBLISHED))


def dataset_at_cursor(screen: ConsoleScreen, comparison: CompareTable) -> str | None:
    """Dataset of the task under the cursor, else of the first task; None where there is no task."""
    columns = comparison.ranking.columns
    column = next((one for one in columns if one.label == comparison.task), next(iter(columns), None))
    return None if column is None else host(screen).backend.session.lookup.dataset_of(column.task)


def open_ladder(screen: ConsoleScreen, comparison: CompareTable) -> None:
    """The ladder of the compared backbones."""
    from ssl_console.tui.screens.ladder import LadderDialog  # noqa: PLC0415 - loads numpy

    names, dataset = measured(comparison), dataset_at_cursor(screen, comparison)
    if dataset is None or len(names) < 2:
        host(screen).notify_user("A ladder compares two measured backbones on a task.")
        return
    screen.app.push_screen(LadderDialog(names, dataset))


def open_judge(screen: ConsoleScreen, comparison: CompareTable, other: str) -> None:
    """The judgement of one backbone against the base, over the tasks of the suite, or over all that are listed."""
    from ssl_console.tui.screens.judge import JudgeDialog  # noqa: PLC0415 - loads numpy

    names, base, suite = measured(comparison), comparison.base, screen.state.suite
    tasks = [one.task for one in comparison.ranking.columns if not is_descriptive(one.protocol)]
    if other not in names or base not in names or not (suite or tasks):
        host(screen).notify_user("A judgement is of a measured backbone against another one.")
        return
    screen.app.push_screen(JudgeDialog((other, base), suite, list(dict.fromkeys(tasks))))


def open_race(screen: ConsoleScreen, comparison: CompareTable) -> None:
    """The race of the marked backbones, or of all whose weights are here."""
    from ssl_console.tui.screens.ladder import has_preset  # noqa: PLC0415 - loads numpy
    from ssl_console.tui.screens.race import RaceDialog, RaceQuestion  # noqa: PLC0415
    from ssl_console.tui.views.ladder import suite_rungs  # noqa: PLC0415

    state, dataset = screen.state, dataset_at_cursor(screen, comparison)
    here = [entry.name for entry in state.catalogue.backbones if entry.missing is None]
    names = state.marked if len(state.marked) > 1 else here
    if dataset is None or len(names) < 2:
        host(screen).notify_user("A race needs two backbones whose weights are here, and a task.")
        return
    suite = state.catalogue.suite.get(state.suite or "")
    preset = suite_rungs(suite.columns, has_preset)[1] if suite else None
    screen.app.push_screen(RaceDialog(RaceQuestion(tuple(names), dataset, preset)))


def open_ledger(screen: ConsoleScreen) -> None:
    """The ledger of the suite that is shown."""
    from ssl_console.tui.screens.ledger import LedgerDialog  # noqa: PLC0415 - reads the published tables

    screen.app.push_screen(LedgerDialog(screen.state.suite))


def open_multiverse(screen: ConsoleScreen, comparison: CompareTable, other: str) -> None:
    """All protocols on stored features, of one backbone against the base first."""
    from ssl_console.tui.screens.multiverse import MultiverseDialog  # noqa: PLC0415 - loads numpy

    names = list(dict.fromkeys(name for name in (other, comparison.base, *measured(comparison)) if name))
    names = [name for name in names if not name.endswith(PUBLISHED)]
    dataset = dataset_at_cursor(screen, comparison)
    if dataset is None or len(names) < 2:
        host(screen).notify_user("A multiverse compares two measured backbones on a task.")
        return
    screen.app.push_screen(MultiverseDialog(names, dataset))
