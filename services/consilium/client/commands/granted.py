"""How grants and whom they trust look, as JSON and for people (rules S3, S4, S6)."""

from pathlib import Path
from typing import Any

from rich.console import RenderableType

from consilium.client.commands.telling import day, facts_table, short, table
from consilium.client.notebook import KeptGrant
from consilium.client.placement import CollusionBudget
from consilium.client.sharing import PreparedGrant
from consilium.kernel.state_values import GrantState
from consilium.kernel.transactions import GrantBody
from consilium.runtime.clock import wall_ms


def noted(made: PreparedGrant, scope: str, epoch: int) -> KeptGrant:
    """A grant as the notebook keeps it."""
    return KeptGrant(made.terms.grant_id, scope, epoch, made.author_epoch, made.terms.recipient_member)


def terms_facts(made: PreparedGrant, kept: KeptGrant) -> dict[str, Any]:
    """A grant as JSON shows it."""
    terms = made.terms
    return {
        "grant": terms.grant_id.hex(),
        "recipient": terms.recipient_member,
        "purpose": terms.purpose.name.lower(),
        "scope": kept.scope,
        "epoch": kept.epoch,
        "not_before_ms": terms.not_before_ms,
        "not_after_ms": terms.not_after_ms,
        "threshold": terms.threshold,
        "holders": list(terms.holders),
        "weaker_budget": terms.weaker_budget,
    }


def state_facts(kept: KeptGrant, state: GrantState) -> dict[str, Any]:
    """A grant as the ledger knows it; `state` says what became of it, `expired` by this machine's own clock."""
    words = "active" if state.terms.not_after_ms > wall_ms() else "expired"
    if state.revoked_height is not None:
        words = "revoked" if state.dead_height is None else "dead"
    return {
        **terms_facts(PreparedGrant(GrantBody(state.terms, b""), kept.scope, kept.author_epoch, ()), kept),
        "state": words,
        "granted_height": state.granted_height,
        "revoked_height": state.revoked_height,
        "deleted_by": list(state.deleted_by),
        "dead_height": state.dead_height,
    }


def granted_shown(facts: dict[str, Any], kept: KeptGrant, out: Path | None) -> tuple[RenderableType, ...]:
    """A fresh grant, and what comes next."""
    shown = {
        "grant": facts["grant"],
        "to": f"{facts['recipient']}, fingerprint {facts['fingerprint']}",
        "for": facts["purpose"],
        "until": day(facts["not_after_ms"]),
        "records of": f"{kept.scope!r}, epoch {kept.epoch}",
        "opened by": f"any {facts['threshold']} of {', '.join(facts['holders'])}",
    }
    step = f"hand {out} to the recipient." if out else f"`consilium share refer {short(facts['grant'])} --out FILE`."
    return facts_table("Granted and final", shown), f"Next: {step}"


def budget_facts(budget: CollusionBudget) -> dict[str, Any]:
    """Whom a grant trusts, as JSON shows it."""
    return {
        "threshold": budget.threshold,
        "holders": list(budget.holders),
        "weaker_budget": budget.weaker_budget,
        "coalitions": [{"members": list(each.members), "gains": each.gains} for each in budget.coalitions],
    }


def budget_shown(title: str, budget: CollusionBudget) -> tuple[RenderableType, ...]:
    """The same for people."""
    drawn = table("Who would have to collude, the fewest first", "together", "would get")
    for each in budget.coalitions:
        drawn.add_row(" + ".join(each.members), each.gains)
    weaker = " (fewer than rule S4 asks)" if budget.weaker_budget else ""
    return f"{title} is opened by any {budget.threshold} of {', '.join(budget.holders)}{weaker}.", drawn
