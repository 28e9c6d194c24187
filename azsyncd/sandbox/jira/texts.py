"""What Jira says to people, in two languages: nobody may decide anything by these texts."""

from __future__ import annotations

ENGLISH = {
    "not.admin": "You do not have permission to perform this operation.",
    "sysadmin.only": "Only system administrators can edit or remove a system administrator.",
    "external": "Cannot edit users or group memberships, as external user management is enabled,"
    " please contact your JIRA administrators.",
    "no.user.named": "Either the 'username' or the 'key' query parameters need to be provided",
    "no.needle": "The username query parameter was not provided",
    "user.unknown": "The user named '{0}' does not exist",
    "user.exists": "A user with that username already exists.",
    "user.name.bad": "The username must not contain '<', '>' or '&' and must have at most 255"
    " characters.",
    "user.name.empty": "You must specify a username.",
    "user.email.bad": "You must specify a valid email address.",
    "user.full.empty": "You must specify a full name.",
    "user.full.long": "The full name must not exceed 255 characters in length.",
    "user.create.read.only": "Cannot add user, all the user directories are read-only.",
    "user.edit.read.only": "Cannot edit user '{0}'. The user's directory is read only.",
    "user.delete.read.only": "Cannot delete user '{0}'. The user's directory is read only.",
    "user.rename.unsupported": "This user can not be renamed because that operation is unsupported"
    " by the underlying user directory or JIRA is acting as a Crowd Server.",
    "nothing.to.change": "No value found to be changed.",
    "active.leads": "You cannot deactivate a project or component lead: {0}.",
    "active.self": "You cannot deactivate the currently logged in user.",
    "delete.self": "You cannot delete the currently logged in user.",
    "delete.leads": "Cannot delete user '{0}', who leads: {1}.",
    "delete.authored": "Cannot delete user '{0}' because issues or comments belong to this user.",
    "licence": "You have exceeded the number of users allowed by your license for {0}.",
    "application.unknown": "The application {0} is not installed or not licensed.",
    "group.empty": "The group name must not be empty",
    "group.unknown": "Group '{0}' does not exist.",
    "group.exists": "A group or user with this name already exists.",
    "group.long": "The group name must not exceed 255 characters in length.",
    "group.read.only": "Cannot edit groups, all the user directories are read-only.",
    "member.already": "Cannot add user. User is already a member of '{0}'",
    "member.not": "Cannot remove user '{0}' from group '{1}' since user is not a member of '{1}'",
    "member.read.only": "You cannot add user '{0}' to group '{1}'."
    " The user's directory is read only.",
    "member.sysadmin": "You cannot change members of a group that has global permissions of system"
    " administrators.",
    "member.last.admin": "You are trying to leave all of the administration groups {0}. You cannot"
    " delete your own administration permission",
    "group.last.admin": "You are trying to delete the last group that has global administration"
    " permissions.",
    "property.unknown": "The property {0} does not exist.",
    "property.key": "The property key must have between 1 and 255 bytes.",
    "property.value": "The property value must be valid, non-empty JSON of at most 32768 bytes.",
}

GERMAN = {
    "user.unknown": "Der Benutzer '{0}' ist nicht vorhanden.",
    "user.exists": "Ein Benutzer mit diesem Benutzernamen ist bereits vorhanden.",
    "user.edit.read.only": "Benutzer '{0}' kann nicht bearbeitet werden. Das Verzeichnis ist"
    " schreibgeschützt.",
    "group.unknown": "Die Gruppe '{0}' gibt es nicht.",
    "group.exists": "Eine Gruppe oder ein Benutzer mit diesem Namen existiert bereits.",
    "member.already": "Der Benutzer kann nicht hinzugefügt werden. Er ist schon Mitglied von '{0}'",
    "member.not": "Der Benutzer '{0}' ist nicht Mitglied von '{1}' und kann daher nicht entfernt"
    " werden",
    "active.leads": "Ein Projekt- oder Komponentenleiter kann nicht deaktiviert werden: {0}.",
    "nothing.to.change": "Es wurde kein Wert gefunden, der geändert werden soll.",
}


def text(language: str, key: str, *values: str) -> str:
    """The text under this key, in English where there is no other."""
    chosen = GERMAN.get(key) if language == "de" else None
    return (chosen or ENGLISH[key]).format(*values)
