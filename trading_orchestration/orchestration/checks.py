"""Asset checks: what people may rely on, looked at after every materialisation."""

import dagster as dg

CHECKS: list[dg.AssetChecksDefinition] = []
