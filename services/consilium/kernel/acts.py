"""What a proposal would do, in words that are the same for every reader (rule G1)."""

from dataclasses import fields

from consilium.kernel.parameters import Parameters
from consilium.kernel.transactions import Act, GradeAct, KeysAct, MemberAct, ParametersAct, UpgradeAct


def says(act: Act) -> str:
    """An act in one line."""
    match act:
        case MemberAct(action=action, profile=profile):
            return f"{action.name.lower()} {profile.member_id}"
        case GradeAct(member_id=member_id, grade=grade, expires_height=height):
            return f"grade {member_id} {grade.name} until height {height}"
        case KeysAct(profile=profile):
            return f"keys {profile.member_id}"
        case ParametersAct(before=before, after=after):
            changes = [f"{name} {old} to {new}" for name, (old, new) in changed(before, after).items()]
            return "parameters " + ", ".join(changes)
        case UpgradeAct(version=version, height=height):
            return f"upgrade to version {version} at height {height}"


def changed(before: Parameters, after: Parameters) -> dict[str, tuple[object, object]]:
    """Which numbers differ: name, before, after."""
    pairs = {each.name: (getattr(before, each.name), getattr(after, each.name)) for each in fields(Parameters)}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
