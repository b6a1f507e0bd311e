"""`trading doctor`: what is wrong with this installation, and how to mend it."""

import typer

from trading_orchestration.cli.findings import Level
from trading_orchestration.cli.output import Json, print_json


def doctor(as_json: Json = False) -> None:
    """Look at everything this installation needs. Exits with 1 when there is an error."""
    from dataclasses import asdict

    from trading_orchestration.cli.doctor_checks import examine

    findings = list(examine())
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        width = max(len(finding.check) for finding in findings)
        for finding in findings:
            mend = f" → {finding.mend}" if finding.mend else ""
            print(f"{finding.level:7}  {finding.check:{width}}  {finding.message}{mend}")
    if any(finding.level is Level.ERROR for finding in findings):
        raise typer.Exit(1)
