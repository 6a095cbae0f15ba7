"""Words on the page: spellings, typing errors, abbreviations, numbers and agreement."""

import re
from collections.abc import Mapping

US_SPELLING = {
    "colour": "color", "colours": "colors", "favourite": "favorite", "neighbour": "neighbor", "neighbours": "neighbors",
    "grey": "gray", "metres": "meters", "centimetres": "centimeters", "programme": "program", "mum": "mom",
    "tyres": "tires", "theatre": "theater", "practise": "practice", "apologise": "apologize", "mould": "mold",
    "marvellous": "marvelous", "jumper": "sweater", "jumpers": "sweaters", "licence": "license", "pavement": "sidewalk",
}  # fmt: skip
TYPOS = {
    "definitely": "definately", "tomorrow": "tommorow", "received": "recieved", "friends": "freinds", "until": "untill",
    "because": "becuase", "their": "thier", "minutes": "mintues", "morning": "mornign", "really": "realy",
    "believe": "beleive", "weeks": "weaks", "again": "agian", "people": "poeple", "finished": "finnished",
    "separate": "seperate", "since": "sinse", "tonight": "tonite", "always": "allways", "which": "wich",
    "evening": "evning", "almost": "allmost", "before": "befor", "nobody": "noboby", "another": "anohter",
    "without": "wihtout", "would": "woud", "the": "teh", "weather": "wether", "coming": "comming",
    "nearly": "nearley", "through": "thru", "months": "monthes", "years": "yrs", "good": "gud", "something": "somthing",
}  # fmt: skip
SHORTENED = {
    "you": "u", "your": "ur", "are": "r", "to": "2", "for": "4", "and": "&", "with": "w/", "because": "cos",
    "though": "tho", "tonight": "2nite", "tomorrow": "tmrw", "please": "pls", "people": "ppl", "minutes": "mins",
    "about": "abt", "thanks": "thx", "before": "b4", "something": "smth", "going to": "gonna", "want to": "wanna",
    "want": "wnt", "have": "hv", "night": "nite", "hours": "hrs", "months": "mths", "without": "w/o", "weeks": "wks",
    "never": "nvr", "was": "wz", "should": "shld", "just": "jst", "really": "rly", "from": "frm", "today": "2day",
}  # fmt: skip
NUMBER_WORDS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip

WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
_ARTICLE = re.compile(r"\b([Aa]) (?=(?:[aeiou](?!ne\b|nce\b|ni|s[eu])|8|11\b|18\b))")


def capitalised(text: str) -> str:
    """Return the text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


_AGREEMENT = {
    "is": "are", "isn't": "aren't", "was": "were", "wasn't": "weren't", "has": "have", "does": "do", "goes": "go",
    "hangs": "hang", "carries": "carry", "gets": "get", "needs": "need", "works": "work", "wins": "win",
    "travels": "travel", "sticks": "stick", "sounds": "sound", "pays": "pay", "matters": "matter", "makes": "make",
    "looks": "look", "keeps": "keep", "hums": "hum", "fits": "fit", "deserves": "deserve", "comes": "come",
    "waits": "wait", "starts": "start", "smells": "smell", "shows": "show", "says": "say", "feels": "feel",
    "depends": "depend", "closes": "close", "agrees": "agree", "sings": "sing", "owes": "owe", "draws": "draw",
    "reads": "read", "beats": "beat", "takes": "take",
}  # fmt: skip
_SINGULAR_S = ("bus", "ss", "gas")


def agreed(text: str, thing: str) -> str:
    """Return the text with verb and article of ``thing`` in the plural where the thing is plural."""
    if not thing.endswith("s") or thing.endswith(_SINGULAR_S):
        return text
    text = re.sub(rf"\b(?:a|A|an|An) (?=(?:\w+ )?{re.escape(thing)})", "some ", text)
    return re.sub(
        rf"({re.escape(thing)} (?:never |always |hardly |still |really )?)([a-z']+)",
        lambda match: match.group(1) + _AGREEMENT.get(match.group(2), match.group(2)),
        text,
    )


def tidy(text: str) -> str:
    """Return an expanded pattern with right articles and single spaces, beginning in upper case."""
    return capitalised(_ARTICLE.sub(r"\1n ", " ".join(text.split()).replace(" ,", ",")))


_SMALL = re.compile(r"(?<![\d:£.\-X])\b(\d|1\d|20)\b(?![\d:%-]|\.\d| mm| quid)")


def in_words(sentence: str) -> str:
    """Return the sentence with its whole numbers up to twenty in words, times, scores and prices left alone."""
    return capitalised(_SMALL.sub(lambda match: NUMBER_WORDS[int(match.group())], sentence))


def spelled(text: str, words: Mapping[str, str]) -> str:
    """Return the text with whole words replaced, their capitals kept."""
    for phrase in ("going to", "want to"):
        if phrase in words:
            text = text.replace(phrase, words[phrase])

    def swap(match: re.Match[str]) -> str:
        word = match.group()
        new = words.get(word.lower(), word)
        return capitalised(new) if word[0].isupper() and new != word else new

    return WORD.sub(swap, text) if words else text
