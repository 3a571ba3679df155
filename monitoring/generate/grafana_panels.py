"""One panel record → one panel of the SDK."""

from __future__ import annotations

import string
import warnings
from collections.abc import Callable
from typing import Any

from grafana_foundation_sdk.models.common import (
    BarGaugeDisplayMode,
    BigValueColorMode,
    BigValueGraphMode,
    DataSourceRef,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    ScaleDistribution,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import (
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from monitoring.generate.records import Kind, Panel, Query

with warnings.catch_warnings():
    # The SDK steers towards dashboards v2, which only Grafana 12 and later read.
    warnings.simplefilter("ignore", DeprecationWarning)
    from grafana_foundation_sdk.builders import (
        bargauge,
        common,
        gauge,
        heatmap,
        prometheus,
        stat,
        statetimeline,
        table,
        timeseries,
    )
    from grafana_foundation_sdk.builders import dashboard as sdk

DATASOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
_DASHES = {"fill": "dash", "dash": [10, 10]}
# These show one number a series: the newest.
_INSTANT = ("stat", "gauge", "bars", "table")


def panel(record: Panel) -> Any:
    """The SDK's builder of the panel, without id and place."""
    built = _KINDS[record.kind](record)
    built = built.title(record.title).description(record.about).datasource(DATASOURCE)
    for letter, query in zip(string.ascii_uppercase, record.queries, strict=False):
        built = built.with_target(_target(letter, query, record.kind))
        properties = _of_series(query)
        if properties:
            built = built.override_by_query(letter, properties)
    if record.unit:
        built = built.unit(record.unit)
    if record.decimals is not None:
        built = built.decimals(record.decimals)
    if record.low is not None:
        built = built.min(record.low)
    if record.high is not None:
        built = built.max(record.high)
    if record.states:
        built = built.mappings([_states(record)])
    steps = [Threshold(value=None, color=record.base)]
    steps += [Threshold(value=float(value), color=colour) for value, colour in record.steps]
    return built.thresholds(
        sdk.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
    ).no_value("–")


def _target(letter: str, query: Query, kind: Kind) -> prometheus.Dataquery:
    target = prometheus.Dataquery().ref_id(letter).datasource(DATASOURCE).expr(query.expr)
    target = target.instant() if kind in _INSTANT else target.range()
    if kind == "table":
        return target.format(PromQueryFormat.TABLE)
    if kind == "heatmap":
        target = target.format(PromQueryFormat.HEATMAP)
    return target.legend_format(query.legend or "__auto")


def _of_series(query: Query) -> list[DynamicConfigValue]:
    properties = []
    if query.dashed:
        properties += [
            DynamicConfigValue(id_val="custom.lineStyle", value=_DASHES),
            DynamicConfigValue(id_val="custom.fillOpacity", value=0),
        ]
    return [*properties, *_unit_of(query)]


def _unit_of(query: Query) -> list[DynamicConfigValue]:
    if query.unit is None:
        return []
    # A plain number beside percentages: a cosine, which the panel's decimals are too few for.
    decimals = [DynamicConfigValue(id_val="decimals", value=3)] if query.unit == "none" else []
    return [DynamicConfigValue(id_val="unit", value=query.unit), *decimals]


def _states(record: Panel) -> ValueMap:
    return ValueMap(
        options={
            f"{value:g}": ValueMappingResult(text=text, color=colour, index=index)
            for index, (value, text, colour) in enumerate(record.states)
        }
    )


def _coloured(mode: FieldColorModeId) -> sdk.FieldColor:
    return sdk.FieldColor().mode(mode)


def _newest() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)


def _stat(record: Panel) -> stat.Panel:
    return (
        stat.Panel()
        .reduce_options(_newest())
        .graph_mode(BigValueGraphMode.NONE)
        .color_mode(BigValueColorMode.VALUE)
        .color_scheme(_coloured(FieldColorModeId.THRESHOLDS))
    )


def _gauge(record: Panel) -> gauge.Panel:
    return (
        gauge.Panel()
        .reduce_options(_newest())
        .show_threshold_markers(True)
        .color_scheme(_coloured(FieldColorModeId.THRESHOLDS))
    )


def _bars(record: Panel) -> bargauge.Panel:
    return (
        bargauge.Panel()
        .reduce_options(_newest())
        .orientation(VizOrientation.HORIZONTAL)
        .display_mode(BarGaugeDisplayMode.BASIC)
        .color_scheme(_coloured(FieldColorModeId.THRESHOLDS))
    )


def _lines(record: Panel) -> timeseries.Panel:
    built = (
        timeseries.Panel()
        .line_width(2)
        .fill_opacity(25 if record.stacked else 0)
        .show_points(VisibilityMode.AUTO)
        .span_nulls(False)
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
        )
        .tooltip(
            common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING)
        )
        .color_scheme(_coloured(FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
    )
    if record.stacked:
        built = built.stacking(common.StackingConfig().mode(StackingMode.NORMAL).group("A"))
    if record.log_scale:
        scale = common.ScaleDistributionConfig().type(ScaleDistribution.LOG).log(10)
        built = built.scale_distribution(scale)
    if record.limit_line:
        style = common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED)
        built = built.thresholds_style(style)
    return built


def _heatmap(record: Panel) -> heatmap.Panel:
    axis = heatmap.YAxisConfig()
    if record.unit:
        axis = axis.unit(record.unit)
    return (
        heatmap.Panel()
        .calculate(False)
        .color(
            heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Blues").steps(64)
        )
        .cell_gap(0)
        .y_axis(axis)
        .hide_legend()
    )


def _state_rows(record: Panel) -> statetimeline.Panel:
    return (
        statetimeline.Panel()
        .merge_values(True)
        .show_value(VisibilityMode.NEVER)
        .row_height(0.8)
        .fill_opacity(80)
        .color_scheme(_coloured(FieldColorModeId.THRESHOLDS))
    )


def _table(record: Panel) -> table.Panel:
    """One row for each set of labels, one column for each query."""
    values = ["Value"] if len(record.queries) == 1 else _value_columns(record)
    facts_only = len(record.queries) == 1
    shown = [*record.labels, *([] if facts_only else values)]
    renamed = (
        {}
        if facts_only
        else dict(zip(values, (query.legend for query in record.queries), strict=True))
    )
    built = (
        table.Panel()
        .with_transformation(DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(
            DataTransformerConfig(
                id_val="organize",
                options={
                    "excludeByName": {"Time": True, **({"Value": True} if facts_only else {})},
                    "indexByName": {name: index for index, name in enumerate(shown)},
                    "renameByName": renamed,
                },
            )
        )
    )
    for query in record.queries:
        if query.unit is not None:
            built = built.override_by_name(query.legend, _unit_of(query))
    return built


def _value_columns(record: Panel) -> list[str]:
    return [f"Value #{letter}" for letter in string.ascii_uppercase[: len(record.queries)]]


# The SDK's panels share their methods but no class.
_KINDS: dict[Kind, Callable[[Panel], Any]] = {
    "stat": _stat,
    "gauge": _gauge,
    "bars": _bars,
    "lines": _lines,
    "heatmap": _heatmap,
    "states": _state_rows,
    "table": _table,
}
