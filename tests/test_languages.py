"""Corpora in many languages: which it is, and which words of it are never called characteristic."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from polyphony.personas.people.language import ENGLISH, Languages, languages_of, traits_of
from polyphony.personas.population import Population, load_population

Simulate = Callable[..., tuple[int, str, list[str]]]

# Two invented people a language, six sentences each; what they speak of, and function words of the language.
TEXTS: dict[str, tuple[list[str], list[str]]] = {
    "de": (
        ["Die Tomaten im Garten sind noch nicht rot, aber die Schnecken sind schon da.",
         "Ich habe den Kompost heute umgesetzt und die Tomaten gegossen.",
         "Wer hat noch Platz im Garten? Ich habe viel zu viele Tomaten.",
         "Der Regen war gut für den Kompost und nicht so gut für mich.",
         "Morgen werden die Schnecken gesammelt, sie sind wieder überall.",
         "Ein Garten ist nie fertig, und das ist auch gut so."],
        ["Der Zug nach Hamburg hat wieder Verspätung, und es gibt keine Durchsage.",
         "Wir stehen seit einer Stunde am Bahnhof und der Schaffner weiß auch nichts.",
         "Warum ist der Bahnhof in Hamburg eigentlich immer so voll?",
         "Mit dem Fahrrad wäre ich heute schneller gewesen als mit dem Zug.",
         "Der Schaffner war freundlich, aber die Verspätung ist es nicht.",
         "Ich nehme morgen das Fahrrad, wenn es nicht regnet."],
    ),
    "fr": (
        ["Les tomates du jardin ne sont pas encore rouges, mais les limaces sont là.",
         "Ce matin nous avons retourné le compost et arrosé les tomates.",
         "Qui veut des tomates ? Nous en avons beaucoup trop dans le jardin.",
         "La pluie est bonne pour le compost, elle est moins bonne pour moi.",
         "Les limaces sont revenues cette nuit, elles mangent tout.",
         "Un jardin n'est jamais fini et c'est très bien comme cela."],
        ["Le train pour Marseille est encore en retard et personne ne dit rien.",
         "Nous attendons à la gare depuis une heure avec le contrôleur.",
         "Pourquoi la gare de Marseille est-elle toujours aussi pleine ?",
         "Avec mon vélo je serais arrivé plus vite que par le train.",
         "Le contrôleur était gentil, mais le retard ne le sera jamais.",
         "Demain je prends le vélo s'il ne pleut pas."],
    ),
    "es": (
        ["Los tomates del huerto todavía no están rojos, pero los caracoles ya están aquí.",
         "Esta mañana hemos movido el compost y regado los tomates.",
         "¿Quién quiere tomates? Tenemos demasiados en el huerto.",
         "La lluvia es buena para el compost y no tan buena para mí.",
         "Los caracoles han vuelto esta noche y se lo comen todo.",
         "Un huerto no se termina nunca, y está muy bien así."],
        ["El tren de Sevilla llega otra vez con retraso y nadie dice nada.",
         "Llevamos una hora en la estación con el revisor.",
         "¿Por qué la estación de Sevilla está siempre tan llena?",
         "Con la bicicleta habría llegado antes que con el tren.",
         "El revisor era amable, pero el retraso no lo es.",
         "Mañana voy en bicicleta si no llueve."],
    ),
    "pt": (
        ["Os tomates da horta ainda não estão vermelhos, mas os caracóis já estão aqui.",
         "Esta manhã mexemos no composto e regamos os tomates da horta.",
         "Quem quer tomates? Nós temos muitos, são demasiados para uma família.",
         "A chuva é boa para o composto e não é tão boa para mim.",
         "Os caracóis voltaram durante a noite e comeram as folhas todas.",
         "Uma horta nunca está pronta, e ainda bem que é assim."],
        ["O comboio para Coimbra está outra vez com atraso e ninguém diz nada.",
         "Estamos há uma hora na estação com o revisor.",
         "Por que é que a estação de Coimbra está sempre tão cheia?",
         "Com a bicicleta teria chegado mais depressa do que com o comboio.",
         "O revisor foi simpático, mas o atraso não é nada simpático.",
         "Amanhã vou de bicicleta se não chover."],
    ),
    "it": (
        ["I pomodori dell'orto non sono ancora rossi, ma le lumache sono già qui.",
         "Questa mattina abbiamo girato il compost e annaffiato i pomodori.",
         "Chi vuole dei pomodori? Ne abbiamo troppi per una sola famiglia.",
         "La pioggia fa bene al compost e non fa così bene a me.",
         "Le lumache sono tornate nella notte e hanno mangiato tutto.",
         "Una serra non è mai finita, e va benissimo così. La serra è il mio regno."],
        ["Il treno per Bologna è di nuovo in ritardo e nessuno dice niente.",
         "Siamo alla stazione da più di un'ora con il capotreno.",
         "Perché la stazione di Bologna è sempre così piena?",
         "Con la bicicletta sarei arrivato prima che con il treno.",
         "Il capotreno era gentile, ma il ritardo non lo è.",
         "Domani vado in bicicletta se non piove."],
    ),
    "nl": (
        ["De tomaten in de tuin zijn nog niet rood, maar de slakken zijn er al.",
         "Vanmorgen hebben we de compost gekeerd en de tomaten water gegeven.",
         "Wie wil er tomaten? Wij hebben er veel te veel in de tuin.",
         "De regen is goed voor de compost en niet zo goed voor mij.",
         "De slakken zijn vannacht teruggekomen en ze eten alles op.",
         "Een tuin is nooit klaar, en dat is ook goed zo."],
        ["De trein naar Utrecht heeft weer vertraging en niemand zegt iets.",
         "Wij staan al een uur op het station met de conducteur.",
         "Waarom is het station van Utrecht toch altijd zo vol?",
         "Met de fiets was ik sneller geweest dan met de trein.",
         "De conducteur was vriendelijk, maar de vertraging is dat niet.",
         "Morgen neem ik de fiets als het niet regent."],
    ),
    "pl": (
        ["Pomidory w ogrodzie jeszcze nie są czerwone, ale ślimaki już tu są.",
         "Dziś rano przerzuciliśmy kompost i podlaliśmy pomidory.",
         "Kto chce pomidory? Mamy ich w ogrodzie o wiele za dużo.",
         "Deszcz jest dobry dla kompostu, ale nie jest taki dobry dla mnie.",
         "Te ślimaki wróciły w nocy i zjadają po prostu wszystko.",
         "Taki ogród nigdy nie jest gotowy i to jest bardzo dobrze."],
        ["Pociąg do Krakowa znowu ma opóźnienie i nikt nic nie mówi.",
         "Stoimy na dworcu już od godziny razem z konduktorem.",
         "Dlaczego ten dworzec jest zawsze taki pełny?",
         "Na rowerze byłbym szybciej niż przez ten pociąg.",
         "Konduktor był miły, ale opóźnienie nie jest miłe.",
         "Jutro jadę na rowerze, jeśli nie będzie padać."],
    ),
    "en": (
        ["The tomatoes in the garden are not red yet, but the slugs are here already.",
         "We turned the compost this morning and watered the tomatoes.",
         "Who wants tomatoes? There are far too many of them in the garden.",
         "Rain is good for the compost and it is not so good for me.",
         "The slugs came back in the night and they eat everything.",
         "A garden is never done, and that is just as well."],
        ["The train to Bristol is late again and nobody says anything.",
         "We have been at the station for an hour with the guard.",
         "Why is the station in Bristol always so full?",
         "By bicycle it would have been quicker than by train.",
         "The guard was friendly, but being late is not.",
         "Tomorrow it will be the bicycle if there is no rain."],
    ),
}  # fmt: skip
TOPICS = {
    "de": ({"garten", "tomaten"}, {"zug", "bahnhof", "schaffner", "verspätung"}),
    "fr": ({"tomates", "compost", "limaces"}, {"gare", "train", "retard", "vélo"}),
    "es": ({"tomates", "huerto", "caracoles"}, {"estación", "tren", "revisor"}),
    "pt": ({"tomates", "horta", "composto"}, {"estação", "comboio", "revisor", "atraso"}),
    "it": ({"pomodori", "compost", "lumache"}, {"stazione", "treno", "capotreno"}),
    "nl": ({"tomaten", "tuin", "slakken"}, {"trein", "station", "conducteur"}),
    "pl": ({"pomidory", "ślimaki"}, {"pociąg"}),
    "en": ({"tomatoes", "garden", "slugs"}, {"station", "train", "guard"}),
}
# Of each language what nobody would call characteristic.
FUNCTION_WORDS = {
    "de": "der die das und nicht ist sind ich habe den aber auch mit wieder",
    "fr": "les des une est sont nous avons pas mais elle elles pour avec dans",
    "es": "los las una está están pero con para esta hemos muy",
    "pt": "os as uma está estão mas com para não esta são",
    "it": "non sono una con della questa abbiamo così per nella",
    "nl": "het een niet zijn maar met voor hebben dat wij",
    "pl": "nie jest ale już są taki dla ten",
    "en": "the and are not but with for they that",
}


def corpus(path: Path, people: dict[str, list[str]]) -> Path:
    """Everybody's sentences three times over, an hour apart."""
    rows = [
        {"author": author, "id": f"{author}{number}", "text": text,
         "created_at": f"2024-05-{number // 24 + 1:02d}T{number % 24:02d}:00:00Z"}
        for author, texts in people.items() for number, text in enumerate(texts * 3)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def of_language(folder: Path, name: str) -> Population:
    ada, bo = TEXTS[name]
    return load_population(corpus(folder / f"{name}.jsonl", {"ada": ada, "bo": bo}))


def often_said(description: str) -> list[str]:
    _, _, rest = description.partition("often says ")
    return rest.partition(";")[0].strip(".").split(", ") if rest else []


@pytest.mark.parametrize("name", TEXTS)
def test_the_language_of_a_corpus_is_found(name: str) -> None:
    found = languages_of(text for texts in TEXTS[name] for text in texts)
    assert found.main == name and found.share > 0.9 and found.texts >= 9, found


@pytest.mark.parametrize("name", TEXTS)
def test_people_are_described_by_what_they_speak_of_in_any_language(tmp_path: Path, name: str) -> None:
    described = {person.handle: person.description for person in of_language(tmp_path, name).personas}
    for handle, topics in zip(("ada", "bo"), TOPICS[name], strict=True):
        said = set(often_said(described[handle]))
        assert topics & said, described[handle]
        assert not said & set(FUNCTION_WORDS[name].split()), described[handle]
        assert described[handle].startswith("Only original posts; about "), "the sentence is in English"


def test_english_stop_words_alone_would_have_called_function_words_characteristic() -> None:
    from polyphony.personas.people.describe import characteristic_words

    texts = {"ada": TEXTS["de"][0] * 3, "bo": TEXTS["de"][1] * 3}
    assert any(set(FUNCTION_WORDS["de"].split()) & set(words) for words in characteristic_words(texts).values())


def test_languages_beside_the_main_one_lend_their_stop_words(tmp_path: Path) -> None:
    people = {"ada": TEXTS["de"][0], "bo": TEXTS["de"][1], "cy": TEXTS["fr"][0]}
    described = {one.handle: one.description for one in load_population(corpus(tmp_path / "a.jsonl", people)).personas}
    words = {word for description in described.values() for word in often_said(description)}
    assert not words & set(f"{FUNCTION_WORDS['de']} {FUNCTION_WORDS['fr']}".split()), words
    assert TOPICS["fr"][0] & set(often_said(described["cy"]))


def test_where_english_is_the_main_language_its_list_is_used_alone() -> None:
    assert traits_of(Languages({"en": 8, "fr": 7})) == traits_of(Languages({"en": 9})) == traits_of(Languages({}))
    assert traits_of(Languages({"en": 8, "fr": 7})).stop_words == "english"
    french = traits_of(Languages({"fr": 8, "en": 7})).stop_words
    assert isinstance(french, list) and {"the", "dans"} <= set(french)


@pytest.mark.parametrize("name", ["ja", "hi", "uk", "is"])
def test_nobody_has_characteristic_words_where_function_words_are_not_known(name: str) -> None:
    assert traits_of(Languages({name: 9})).stop_words is None


def test_japanese_is_counted_in_characters_and_asks_with_its_own_mark(tmp_path: Path) -> None:
    texts = [
        "今日は庭でトマトに水をやりました。", "駅はどうしていつも混んでいるのですか？", "なめくじがまた来た、なぜ？",
        "明日は自転車で行こうと思います。", "電車はまた遅れていますか？", "庭の仕事は終わることがありません。",
    ]  # fmt: skip
    (ada,) = load_population(corpus(tmp_path / "a.jsonl", {"ada": texts})).personas
    assert "characters each; often asks questions" in ada.description and "often says" not in ada.description


@pytest.mark.parametrize(
    "texts",
    [[], ["x"] * 50, ["post 1", "post 2", "post 3"], ["https://example.org/der/die/das/und/nicht/ist " * 3],
     [TEXTS["de"][0][0]] * 50, ["@der_die_das_und_nicht " * 9, "#nichtsalsschnecken " * 9], ["12345 !!! " * 20]],
)  # fmt: skip
def test_too_few_texts_tell_no_language_and_english_is_taken(texts: list[str]) -> None:
    found = languages_of(texts)
    assert (found.main, found.share, found.considerable) == ("", 0.0, (ENGLISH,))


def test_what_is_looked_at_does_not_grow_with_the_corpus() -> None:
    texts = [f"{number} {text}" for number in range(2000) for text in TEXTS["nl"][0][:2]]
    assert 400 < languages_of(texts).texts <= 500 and languages_of(texts).main == "nl"


def test_the_descriptions_of_the_town_are_as_they_were() -> None:
    """The digest was computed at commit 3ebe5bf, before descriptions followed the language of the corpus.

    As a file of one's own, too, the town is described so: it is found to be English.
    """
    town = load_population("town")
    assert languages_of(act.text for act in town.acts.values() if act.text).main == ENGLISH
    people = {person.handle: person.description for person in town.personas}
    text = json.dumps(people, sort_keys=True, ensure_ascii=False)
    assert hashlib.sha256(text.encode()).hexdigest() == (
        "1d8d452ef74ea4fd3cc3d7b7e28be5ac2a010d3bc7b04f71991007dd653ce2a3"
    )
