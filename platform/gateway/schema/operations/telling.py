"""What is told of models, of keys and their usage, and of the server."""

from gateway.capabilities import Capabilities, CapabilitiesObject
from gateway.catalogue import ModelDetail, ModelList, ModelObject, Models
from gateway.diagnostics import Diagnostics, DiagnosticsReport
from gateway.health import Health, Life, Readiness, Ready
from gateway.key import KeyObject, OwnKey
from gateway.organization import GROUPS, WIDTHS, CompletionsUsage, UsagePage
from gateway.schema.operation import Operation, Query
from gateway.usage import GROUPS as USAGE_GROUPS
from gateway.usage import KeyUsage, OwnUsage

MODEL = Query("model", {"type": "string"}, "Another one than the default model.")

TEXTS = {"type": "array", "items": {"type": "string"}}

USAGE = (
    Query("start_time", {"type": "integer", "minimum": 0}, "Unix seconds; required.", example=1_790_000_000),
    Query("end_time", {"type": "integer", "minimum": 0}, "Unix seconds, exclusive; now, if left out."),
    Query("bucket_width", {"enum": list(WIDTHS)}, "A minute, an hour or a day, in UTC; a day, if left out."),
    Query("group_by", {"type": "array", "items": {"enum": list(GROUPS)}}, "What each bucket is taken apart by."),
    Query("project_ids", TEXTS, "Only of these teams, by their short names."),
    Query("user_ids", TEXTS, "Only of these users, by their names."),
    Query("api_key_ids", TEXTS, "Only of these keys, by how they begin."),
    Query("models", TEXTS, "Only of these models."),
    Query("limit", {"type": "integer", "minimum": 1, "maximum": 1440}, "Buckets in a page."),
    Query("page", {"type": "string"}, "The `next_page` of the page before."),
)

DAY_OR_SECONDS = {"anyOf": [{"type": "string", "format": "date"}, {"type": "integer", "minimum": 0}]}

OWN_USAGE = (
    Query("start", DAY_OR_SECONDS, "A day (in UTC) or Unix seconds; 30 days before the end, if left out."),
    Query("end", DAY_OR_SECONDS, "The same, exclusive; now, if left out."),
    Query("group_by", {"type": "array", "items": {"enum": list(USAGE_GROUPS)}}, "Day and model, if left out."),
)

OPERATIONS = (
    Operation(
        consumer=Models,
        method="GET",
        name="listModels",
        tag="OpenAI",
        summary="The models that are served",
        gives=ModelList,
    ),
    Operation(
        consumer=ModelDetail,
        method="GET",
        name="getModel",
        tag="OpenAI",
        summary="One model, by its name or an alias",
        gives=ModelObject,
        refuses=(404,),
    ),
    Operation(
        consumer=Capabilities,
        method="GET",
        name="getCapabilities",
        tag="Atelier",
        summary="What the server and a model can do",
        gives=CapabilitiesObject,
        refuses=(404,),
        query=(MODEL,),
    ),
    Operation(
        consumer=CompletionsUsage,
        method="GET",
        name="getCompletionsUsage",
        tag="OpenAI",
        summary="What was used, in buckets of time",
        gives=UsagePage,
        query=USAGE,
    ),
    Operation(
        consumer=OwnUsage,
        method="GET",
        name="getUsage",
        tag="Atelier",
        summary="What the key that asks has used, today, this week, this month and by days and models",
        gives=KeyUsage,
        query=OWN_USAGE,
    ),
    Operation(
        consumer=OwnKey,
        method="GET",
        name="getKey",
        tag="Atelier",
        summary="What the key that asks may do, has used, and has left",
        gives=KeyObject,
        refuses=(404,),
        query=(MODEL,),
    ),
    Operation(
        consumer=Diagnostics,
        method="GET",
        name="getDiagnostics",
        tag="Atelier",
        summary="How the server and a model's engine are",
        gives=DiagnosticsReport,
        refuses=(404,),
        query=(MODEL,),
    ),
    Operation(
        consumer=Health,
        method="GET",
        name="getHealth",
        tag="Atelier",
        summary="Whether the gateway lives",
        gives=Life,
    ),
    Operation(
        consumer=Ready,
        method="GET",
        name="getReadiness",
        tag="Atelier",
        summary="Whether the default model can answer",
        gives=Readiness,
        gives_otherwise={503: Readiness},
    ),
)
