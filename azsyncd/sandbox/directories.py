"""User directories as Jira, Confluence, Bitbucket and Crowd share them: people, groups, members.

Several directories stand one above the other; of two accounts with one name the upper one counts
and shadows the other. Every change that really changes something raises `revision`, so that a
product can tell a needless write from one that was needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from azsyncd.model.accounts import fold

EVERYTHING = frozenset(
    {
        "create_user", "update_user", "update_user_attribute", "delete_user",
        "create_group", "update_group", "update_group_attribute", "delete_group",
    }
)  # fmt: skip
"""What an application or the product itself may do in a directory."""

LOCAL_GROUPS = frozenset(right for right in EVERYTHING if right.endswith(("_group", "attribute")))
"""'Read only, with local groups': memberships can be written, people cannot."""


@dataclass(slots=True, eq=False)
class Person:
    """One account in one directory. `number` tells in which order they were made."""

    key: str
    name: str
    display_name: str
    email: str
    number: int
    active: bool = True
    first_name: str = ""
    last_name: str = ""
    directory: str = ""
    attributes: dict[str, list[str]] = field(default_factory=dict)
    properties: dict[str, Any] = field(default_factory=dict)
    leads: list[str] = field(default_factory=list)  # projects and components
    authored: bool = False  # has issues or comments: cannot be deleted
    groups: set[str] = field(default_factory=set)  # folded names, in its own directory


@dataclass(slots=True, eq=False)
class Group:
    """One group in one directory, with its direct members and child groups."""

    name: str
    description: str = ""
    active: bool = True
    directory: str = ""
    attributes: dict[str, list[str]] = field(default_factory=dict)
    members: dict[str, Person] = field(default_factory=dict)  # by folded name
    children: dict[str, str] = field(default_factory=dict)  # folded name → name


@dataclass(slots=True, eq=False)
class Directory:
    """One directory: `may` is what can be done in it from outside."""

    name: str
    kind: str = "INTERNAL"
    may: frozenset[str] = EVERYTHING
    active: bool = True
    read_only: bool = False
    people: dict[str, Person] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)


class Directories:
    """All directories of one product, in their order."""

    def __init__(self, directories: Iterable[Directory]) -> None:
        self.all = list(directories)
        self.revision = 0
        self._number = 10_000
        self._by_key: dict[str, Person] = {}
        self._everyone: list[Person] | None = None
        self._member_lists: dict[tuple[str, bool], list[Person]] = {}

    # Reading ------------------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Directory:
        return next(directory for directory in self.all if directory.name == name)

    @property
    def active(self) -> list[Directory]:
        """Those that are switched on, in their order."""
        return [directory for directory in self.all if directory.active]

    def person(self, name: str) -> Person | None:
        """The account under this name that counts."""
        folded = fold(name)
        for directory in self.all:
            if directory.active and folded in directory.people:
                return directory.people[folded]
        return None

    def person_by_key(self, key: str) -> Person | None:
        """The account with this key, if it is not shadowed."""
        person = self._by_key.get(key)
        return person if person is not None and self._counts(person) else None

    def everyone(self) -> list[Person]:
        """Every account that is not shadowed, by name."""
        if self._everyone is None:
            seen: dict[str, Person] = {}
            for directory in self.active:
                for folded, person in directory.people.items():
                    seen.setdefault(folded, person)
            self._everyone = [seen[folded] for folded in sorted(seen)]
        return self._everyone

    def duplicates(self) -> dict[str, list[Person]]:
        """Names that stand in more than one directory, with all their accounts in order."""
        found: dict[str, list[Person]] = {}
        for directory in self.active:
            for folded, person in directory.people.items():
                found.setdefault(folded, []).append(person)
        return {folded: people for folded, people in found.items() if len(people) > 1}

    def group(self, name: str) -> Group | None:
        """The first group under this name."""
        return next(self.groups_named(name), None)

    def groups_named(self, name: str) -> Iterator[Group]:
        """The group of this name in each directory that has one."""
        folded = fold(name)
        for directory in self.all:
            if directory.active and folded in directory.groups:
                yield directory.groups[folded]

    def all_groups(self) -> list[Group]:
        """One group for each name, by name."""
        seen: dict[str, Group] = {}
        for directory in self.active:
            for folded, group in directory.groups.items():
                seen.setdefault(folded, group)
        return [seen[folded] for folded in sorted(seen)]

    def members(self, name: str, *, nested: bool = False) -> list[Person]:
        """The members of a group that are not shadowed, by name; `nested`: its subgroups' too."""
        cached = self._member_lists.get((fold(name), nested))
        if cached is None:
            found: dict[str, Person] = {}
            for each in self.with_subgroups(name) if nested else {fold(name)}:
                for group in self.groups_named(each):
                    found.update(group.members)
            cached = [found[folded] for folded in sorted(found) if self._counts(found[folded])]
            self._member_lists[(fold(name), nested)] = cached
        return cached

    def with_subgroups(self, name: str) -> set[str]:
        """The folded names of the group and of all groups below it; cycles are harmless."""
        below: set[str] = set()
        todo = [fold(name)]
        while todo:
            folded = todo.pop()
            if folded in below:
                continue
            below.add(folded)
            for group in self.groups_named(folded):
                todo.extend(group.children)
        return below

    def parents(self, name: str) -> list[Group]:
        """The groups that hold this one directly."""
        return [
            group
            for group in self.all_groups()
            if any(fold(name) in each.children for each in self.groups_named(group.name))
        ]

    def groups_of(self, person: Person) -> list[Group]:
        """The groups that hold this account directly, by name."""
        directory = self[person.directory]
        return [directory.groups[folded] for folded in sorted(person.groups)]

    def is_member(self, name: str, person: Person) -> bool:
        """Whether the account is a direct member."""
        return fold(name) in person.groups

    def _counts(self, person: Person) -> bool:
        return self.person(person.name) is person

    # Changing -----------------------------------------------------------------------------------

    def changed(self, *, people: bool = False) -> None:
        """Something is different now."""
        self.revision += 1
        if people:
            self._everyone = None
            self._member_lists.clear()

    def next_number(self) -> int:
        """A number that was never given before."""
        number, self._number = self._number, self._number + 1
        return number

    def add_person(self, directory: Directory, person: Person) -> Person:
        """Put an account into a directory."""
        person.directory = directory.name
        directory.people[fold(person.name)] = person
        self._by_key[person.key] = person
        self.changed(people=True)
        return person

    def edit_person(self, person: Person, **values: Any) -> bool:
        """Set fields of an account; says whether anything changed."""
        different = {name: new for name, new in values.items() if getattr(person, name) != new}
        for name, new in different.items():
            setattr(person, name, new)
        if different:
            self.changed(people="active" in different)
        return bool(different)

    def rename_person(self, person: Person, name: str) -> None:
        """Give an account another name; memberships stay."""
        directory = self[person.directory]
        if person.name == name:
            return
        old = fold(person.name)
        del directory.people[old]
        person.name = name
        directory.people[fold(name)] = person
        for folded in person.groups:
            members = directory.groups[folded].members
            del members[old]
            members[fold(name)] = person
        self.changed(people=True)

    def remove_person(self, person: Person) -> None:
        """Take an account away, with its memberships."""
        directory = self[person.directory]
        for folded in person.groups:
            del directory.groups[folded].members[fold(person.name)]
        person.groups.clear()
        del directory.people[fold(person.name)]
        self._by_key.pop(person.key, None)
        self.changed(people=True)

    def add_group(self, directory: Directory, name: str, description: str = "") -> Group:
        """Put a group into a directory."""
        group = Group(name, description, directory=directory.name)
        directory.groups[fold(name)] = group
        self._member_lists.clear()
        self.changed()
        return group

    def remove_group(self, name: str) -> None:
        """Take a group away wherever it stands."""
        folded = fold(name)
        for directory in self.active:
            group = directory.groups.pop(folded, None)
            if group is None:
                continue
            for person in group.members.values():
                person.groups.discard(folded)
            for other in directory.groups.values():
                other.children.pop(folded, None)
            self.changed()
        self._member_lists.clear()

    def add_member(self, name: str, person: Person) -> bool:
        """Make an account a member in its own directory; the group is made there if need be."""
        directory = self[person.directory]
        group = directory.groups.get(fold(name))
        if group is None:
            known = self.group(name)
            group = self.add_group(directory, known.name if known else name)
        if fold(name) in person.groups:
            return False
        group.members[fold(person.name)] = person
        person.groups.add(fold(name))
        self._member_lists.clear()
        self.changed()
        return True

    def add_child(self, group: Group, child: Group) -> bool:
        """Put one group into another; says whether that is new."""
        if fold(child.name) in group.children:
            return False
        group.children[fold(child.name)] = child.name
        self._member_lists.clear()
        self.changed()
        return True

    def remove_child(self, group: Group, child: str) -> bool:
        """The reverse; says whether it was in there."""
        if group.children.pop(fold(child), None) is None:
            return False
        self._member_lists.clear()
        self.changed()
        return True

    def remove_member(self, name: str, person: Person) -> bool:
        """The reverse; says whether it was a member."""
        folded = fold(name)
        if folded not in person.groups:
            return False
        del self[person.directory].groups[folded].members[fold(person.name)]
        person.groups.discard(folded)
        self._member_lists.clear()
        self.changed()
        return True
