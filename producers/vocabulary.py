"""Words that the synthetic catalog is made of, awkward ones included: every title here has broken some CSV reader."""

from __future__ import annotations

from typing import Final


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


GENRES: Final = _words(
    """acoustic afrobeat alt-rock alternative ambient anime black-metal bluegrass blues brazil breakbeat british
    cantopop chicago-house children chill classical club comedy country dance dancehall death-metal deep-house
    detroit-techno
    disco disney drum-and-bass dub dubstep edm electro electronic emo folk forro french funk garage german gospel goth
    grindcore groove grunge guitar happy hard-rock hardcore hardstyle heavy-metal hip-hop honky-tonk house idm indian
    indie indie-pop industrial iranian j-dance j-idol j-pop j-rock jazz k-pop kids latin latino malay mandopop metal
    metalcore minimal-techno mpb new-age opera pagode party piano pop pop-film power-pop progressive-house psych-rock
    punk punk-rock r-n-b reggae reggaeton rock rock-n-roll rockabilly romance sad salsa samba sertanejo show-tunes
    singer-songwriter ska sleep songwriter soul spanish study swedish synth-pop tango techno trance trip-hop turkish
    world-music"""
)
"""The 114 genres of the public parent of songs.csv."""

ADJECTIVES: Final = _words(
    """Amber Broken Crimson Distant Electric Fading Golden Hollow Infinite Jagged Kind Lonely Midnight Northern Open
    Paper Quiet Restless Silver Tender Unsent Velvet Wild Young"""
)
NOUNS: Final = _words(
    """Avenues Birds Cities Doors Embers Ferries Gardens Harbours Islands Journeys Kites Lanterns Mirrors Nights Oceans
    Postcards Questions Rivers Shadows Trains Umbrellas Voices Windows Years"""
)
GIVEN_NAMES: Final = _words(
    """Ada Björn Chiara Dmitri Elif Fatou Grace Hiro Inés João Kwame Léa Mina Noor Olga Priya Quentin Rosa Søren Tomáš
    Uma Vera Wei Ximena Yuki Zoë"""
)
FAMILY_NAMES: Final = _words(
    """Adeyemi Berg Castro Dvořák Eriksson Fontaine Gupta Haddad Ito Jensen Kaya Lopes Müller Novák O'Brien Petrov
    Quispe Rossi Silva Tanaka Usman Varga Wang Yildiz Zhou"""
)
COUNTRIES: Final = (
    "Brazil",
    "Canada",
    "Côte d'Ivoire",
    "Germany",
    "Ghana",
    "India",
    "Iran, Islamic Republic of",
    "Japan",
    "Korea, Republic of",
    "Mexico",
    "Sweden",
    "Türkiye",
)

AWKWARD_TITLES: Final = (
    '{a} "{n}"',
    '"{a}", {n}',
    'The "{a}", or, "{n}"',
    "{a}, {n} & Sons",
    "{a}\n{n}",
    '"{a}"\n"{n}",\n{serial}',
    "{a} \\ {n}",
    '{a} \\"{n}\\", Pt. {serial}',
    "夜の{serial}番線、「{n}」",
    "Привет, {n} {serial}",
    "안녕 {n} {serial}",
    "ليلة {serial} {n}",
    "Καλημέρα «{n}» {serial}",
    "रात {serial} {n}",
    "Ça déjà vu № {serial} 🎧",
    "NULL {serial}",
    "'{a}; {n}'",
    '7" {n}, 12" {a}',
)
"""Patterns of titles: doubled quotes, commas, a quote before a comma, line feeds, backslashes, several scripts."""
