"""Invented people: names as they occur, and names as they should never occur but do."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

_GIVEN = (
    "Adele Aïcha Ana Anders Anneliese Bao Beatriz Björn Bogdan Carmen Chiara Chloé Daan Dağhan "
    "Dinesh Eilidh Elif Emeka Esther Fatima Feng François Frida Giulia Grzegorz Hamza Hana Haruto "
    "Inès Ingrid Ivan Jelena João Jonas Joséphine Kaito Katarzyna Kwame Lars Leila Linh Łukasz "
    "Magda Malik Marta Mathis Mei Miguel Mirela Nadia Naoko Niamh Nils Noor Olga Oluwaseun Pavel "
    "Priya Rania Rasmus Renée Rosa Sanjay Selin Siobhán Sofía Stefan Sunniva Tariq Thu Tomáš Uma "
    "Valentín Vera Viktor Wanjiru Wei Yara Yusuf Zoë Zsófia"
)

_SURNAMES = (
    "Abubakar Adeyemi Álvarez Andersson Banerjee Bauer Berg Bianchi Çelik Chen Costa Dąbrowski "
    "Demir Diallo Dubois Eriksen Fernandes Fischer Fontaine García Großmann Haddad Hansen Hoang "
    "Horváth Ito Ivanova Jansen Jovanović Kaya Khan Kimura Kowalska Lefèvre Lindqvist López Maier "
    "Mbeki Meier Moreau Müller Mwangi Nagy Nakamura Nguyen Novák O'Brien Okafor Olsen Özdemir "
    "Park Patel Pereira Petrov Popescu Quispe Ramírez Rossi Saïd Sato Schäfer Silva Singh "
    "Söderström Sørensen Steiner Suzuki Takahashi Tanaka Tran Vargas Visser Wagner Wójcik Yılmaz "
    "Zhang Žižka"
)

GIVEN, SURNAMES = _GIVEN.split(), _SURNAMES.split()


@dataclass(frozen=True, slots=True)
class Odd:
    """Somebody whose name or address tries the tools of others."""

    upn: str
    display_name: str
    given: str = ""
    surname: str = ""
    mail: bool = True


ODD = (
    Odd("siobhan.o'brien", "Siobhán O'Brien", "Siobhán", "O'Brien"),
    Odd("UPPER.CASE", "UPPER CASE", "UPPER", "CASE"),
    Odd("no.mail", "Nomen Nescio", "Nomen", "Nescio", mail=False),
    Odd("x" * 63 + "y", "Wolfeschlegelsteinhausenbergerdorff " * 7 + "sr.", "Hubert", "Wolfe"),
    Odd("rocket", "Rósa 🚀🧑‍🚀 Rakete", "Rósa", "Rakete"),
    Odd("anna.berg", "Anna Berg", "Anna", "Berg"),
    Odd("anna.berg2", "Anna Berg", "Anna", "Berg"),
    Odd("hash#tag_and^caret", "Curly {{ Braces }} <b>&amp;</b>", "Curly", "Braces"),
    Odd("jose.nfd", unicodedata.normalize("NFD", "José Müller"), "José", "Müller"),
    Odd("rtl.name", "أحمد بن علي", "أحمد", "بن علي"),
    Odd("tabs.and.blanks", "Two  blanks\tand a tab", "Two", "Blanks"),
    Odd("madonna", "Madonna", "", ""),
)


def names(rng: random.Random) -> Iterator[tuple[str, str]]:
    """Given and family names without end; pairs come again."""
    while True:
        yield rng.choice(GIVEN), rng.choice(SURNAMES)


def mailbox(given: str, surname: str) -> str:
    """`joséphine`, `o'brien` → `josephine.obrien`, as most directories would make it."""
    letters = unicodedata.normalize("NFKD", f"{given}.{surname}".translate(_FOLDED).lower())
    return "".join(each for each in letters if each.isascii() and (each.isalnum() or each in ".-"))


_FOLDED = str.maketrans({"ß": "ss", "ø": "o", "Ø": "O", "Ł": "L", "ł": "l", "ı": "i"})
