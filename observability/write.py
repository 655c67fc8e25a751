"""Writes the dashboards as Grafana's JSON, with its typed SDK: `python -m observability.write FOLDER`, or `make dashboards`.

The JSON is committed, because who installs the chart has no Python at hand; a test compares it with what is written here.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as kinds
from grafana_foundation_sdk.models import dashboard as models

from observability.boards import BOARDS
from observability.panels import Board, Panel

FOLDER = Path(__file__).resolve().parents[1] / "deploy" / "helm" / "consilium-observability" / "dashboards"
WIDTH = 24
"""Of Grafana's grid."""
NUMBER_WIDTH, GRAPH_WIDTH, NUMBER_HEIGHT, GRAPH_HEIGHT = 4, 8, 4, 8
DATA_SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")


def written(board: Board) -> str:
    """A dashboard as JSON, the same every time."""
    made = (
        dashboard.Dashboard(board.title)
        .uid(f"consilium-{board.name}")
        .description(board.says)
        .tags(["consilium"])
        .time("now-1h", "now")
        .refresh("30s")
        .timezone("utc")
        .readonly()
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").type("prometheus").label("Data source"))
        .with_variable(_alliances())
        .with_variable(_namespaces())
    )
    for row in board.rows:
        made.with_row(dashboard.Row(row.title))
        for panel in row.panels:
            made.with_panel(_number(panel) if panel.is_number else _graph(panel))
    return JSONEncoder(sort_keys=True, indent=2).encode(made.build()) + "\n"


def _alliances() -> dashboard.QueryVariable:
    """The choice of one alliance; where nothing has the label it is empty, and means those without it."""
    return _choice("alliance", "label_values(consilium_build_info, alliance)")


def _namespaces() -> dashboard.QueryVariable:
    """The choice of the alliance's members by their namespaces; all of them at first."""
    made = _choice("namespace", 'label_values(consilium_build_info{alliance="$alliance"}, namespace)')
    return made.multi(multi=True).include_all(include_all=True).all_value(".+")


def _choice(label: str, query: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(label)
        .label(label.title())
        .datasource(DATA_SOURCE)
        .query({"query": query, "refId": f"{label}s"})
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
    )


def _queries(panel: Panel) -> Iterator[prometheus.Dataquery]:
    for place, query in enumerate(panel.queries):
        made = prometheus.Dataquery().expr(query.expression).legend_format(query.legend).ref_id(chr(ord("A") + place))
        yield made.datasource(DATA_SOURCE)


def _graph(panel: Panel) -> timeseries.Panel:
    made = timeseries.Panel().title(panel.title).description(panel.says).unit(panel.unit).datasource(DATA_SOURCE)
    legend = common.VizLegendOptions().show_legend(show_legend=True).placement(kinds.LegendPlacement.BOTTOM)
    made.height(GRAPH_HEIGHT).span(GRAPH_WIDTH).legend(legend).fill_opacity(10)
    for each in _queries(panel):
        made.with_target(each)
    return made


def _number(panel: Panel) -> stat.Panel:
    made = stat.Panel().title(panel.title).description(panel.says).unit(panel.unit).datasource(DATA_SOURCE)
    made.height(NUMBER_HEIGHT).span(NUMBER_WIDTH).reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    steps = [models.Threshold(value=None, color="green")]
    if panel.alarming is not None:
        steps.append(models.Threshold(value=panel.alarming, color="red"))
    made.thresholds(dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps))
    for each in _queries(panel):
        made.with_target(each)
    return made


def main(folder: Path) -> None:
    """Write all dashboards into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for board in BOARDS:
        (folder / f"{board.name}.json").write_text(written(board), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else FOLDER)
