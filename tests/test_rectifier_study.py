"""The rectifier taken apart: words read, regions of all forms, what they change, the failures."""

from types import SimpleNamespace

import numpy as np
import pytest
from light import MASKS, PRESET, SIZE_HW, TAS, grey, part_of, scene_of

from tasutils import rectifier_charts, rectifier_study
from tasutils.datasets.sample import Sample
from tasutils.errors import TasError
from tasutils.masks import intersection_union
from tasutils.rectifier_study import COUNTS, GROUPS, NO_WORD, NONE_COUNTS
from tasutils.refer import refer

SENTENCES = (
    "left dog", "dog", "car left of the dog", "right laptop", "second dog from left",
    "bottom dog", "top left car", "octopus up high", "the one on the right", "cat",
)  # fmt: skip
SCENE = scene_of(MASKS)


def answer_of(text, preset=PRESET):
    return refer(SCENE, text, TAS.encoder, TAS.language, preset, dataset="refscenes")


def gallery_of(texts=SENTENCES, empty=False):
    """The run of the drawn scene: each sentence means the disc of its number, modulo five."""
    sentences = []
    for i, text in enumerate(texts):
        answer = answer_of(text)
        pixels = zip(*intersection_union(MASKS, MASKS[i % 5]), strict=True)
        rows = zip(answer.v, answer.p, answer.n, answer.in_region, pixels, strict=True)
        sentences.append({"text": text, "masks": [] if empty else list(rows)})
    part = part_of(sentences, alpha=PRESET.weights()["p"], lam=PRESET.weights("refscenes")["n"])
    scene = scene_of(MASKS[:0]) if empty else SCENE
    return SimpleNamespace(part=part, tas=TAS, picture=lambda _: (grey(SIZE_HW), scene))


@pytest.fixture(scope="module")
def gallery():
    return gallery_of()


@pytest.fixture(scope="module")
def table(gallery):
    return rectifier_study.with_forms(gallery)


def test_stored_scores_with_a_forms_regions_choose_what_refer_chooses(gallery, table):
    record = gallery.part.run.record
    for name, preset in rectifier_study.forms(PRESET).items():
        rows = table.choose(record.alpha, record.lam, name)
        expected = [answer_of(text, preset).chosen for text in SENTENCES]
        assert list(table.proposal[rows]) == expected, name
    own = table.choose(record.alpha, record.lam)
    assert (table.choose(record.alpha, record.lam, "extended") == own).all()


def test_the_forms_are_those_of_the_presets_and_differ():
    forms = rectifier_study.forms(PRESET)
    official, paper = forms["official"].rectifier, forms["paper"].rectifier
    assert official.gate and official.matching == "substring" and official.cut == "median"
    assert (paper.form, paper.cut, forms["none"].rectifier.form) == ("paper", "middle", "none")
    assert len({preset.rectifier for preset in forms.values()}) == 5
    assert all(preset.scores == PRESET.scores for preset in forms.values())


def test_changes_are_those_of_the_answers_one_by_one(gallery, table):
    changes = rectifier_study.changes(gallery, table, n_boot=50)
    assert list(dict.fromkeys(changes["group"])) == ["all", *GROUPS.values()]
    cells = changes.set_index(["group", "form"])
    forms, counts = rectifier_study.forms(PRESET), GROUPS[COUNTS]
    groups = np.array([counts, NO_WORD, NONE_COUNTS, counts, NONE_COUNTS, *[counts] * 4, NO_WORD])

    def ious(preset):
        chosen = [answer_of(text, preset).chosen for text in SENTENCES]
        pairs = [(MASKS[c], MASKS[i % 5]) for i, c in enumerate(chosen)]
        return chosen, np.array([(a & b).sum() / (a | b).sum() for a, b in pairs])

    plain, before = ious(forms["none"])
    for name in ("paper", "extended", "extended, medians", "official"):
        chosen, after = ious(forms[name])
        for group in ("all", *GROUPS.values()):
            who = np.ones(10, bool) if group == "all" else groups == group
            row = cells.loc[(group, name)]
            assert row["mean"] == pytest.approx((after - before)[who].mean())
            assert row["n"] == who.sum()
            assert row["moved"] == (np.array(chosen) != plain)[who].sum()
            assert row["mended"] == ((after > 0.5) & (before <= 0.5))[who].sum()
            assert row["broken"] == ((after <= 0.5) & (before > 0.5))[who].sum()
    for name in ("extended", "extended, medians"):
        assert cells.loc[(NO_WORD, name), "moved"] == cells.loc[(NONE_COUNTS, name), "moved"] == 0
    found = rectifier_study.verdicts(samples())
    lines = rectifier_study.rectifier_words(found, changes, "n = 10")
    assert lines[1] == "What the forms rest on: n = 10." and len(lines) == 6
    paper = cells.loc[("all", "paper")]
    assert f"{paper['moved']:.0f} answers moved, {paper['mended']:.0f} mended" in lines[2]
    assert rectifier_charts.changes_plot(changes).png()[:4] == b"\x89PNG"


def samples(texts=SENTENCES, **flags):
    fields = ("", "", "", "")
    return [Sample(str(i), "1", *fields[:2], text, text, "", "val", flags)
            for i, text in enumerate(texts)]  # fmt: skip


def test_words_and_sentences_are_counted_by_what_became_of_them():
    texts = ["left dog", "topleft car", "left car left of the dog", "cat", "dog facing left"]
    words = rectifier_study.read_words(samples(texts))
    assert list(words["word"]) == ["left", "topleft", "left", "left", "left"]
    assert list(words["verdict"]) == [COUNTS, COUNTS, COUNTS, "relation", "orientation"]
    found = rectifier_study.verdicts(samples(texts, has_direction=True)).set_index("verdict")
    assert found["n"].to_dict() == {COUNTS: 3, NO_WORD: 1, "orientation": 1}
    assert found.loc[NO_WORD, "examples"] == "cat" and (found["flagged"] == found["n"]).all()
    assert rectifier_study.verdicts(samples(texts))["flagged"].isna().all()
    assert rectifier_charts.words_plot(words).png()[:4] == b"\x89PNG"


def test_each_failure_shows_a_sentence_of_the_run_or_one_made_up(gallery, table):
    cases = {case.title: case for case in rectifier_study.failures(gallery, table)}
    assert list(cases) == ["laptop", "left of the dog", "second from left", "bottom"]
    assert cases["laptop"].sentence == "right laptop" and cases["laptop"].row == 3
    assert cases["left of the dog"].sentence == "car left of the dog"
    assert cases["second from left"].row == 4 and cases["bottom"].row == 5
    plain = gallery_of(["dog", "cat"])
    made_up = rectifier_study.failures(plain, rectifier_study.with_forms(plain))
    assert [case.row for case in made_up] == [-1] * 4
    assert [case.sentence for case in made_up] == [entry[3] for entry in rectifier_study.FAILURES]
    for case in (*cases.values(), *made_up):
        assert rectifier_study.shows(case.title, case.sentence)


def test_a_failure_is_drawn_with_what_each_form_read(gallery):
    case = rectifier_study.Case("laptop", "", "right laptop", 3)
    answers = rectifier_study.ask(gallery, case)
    assert answers["official"].expression.parts == ("top right",)
    assert not answers["none"].expression.directions
    said = {name: rectifier_charts._said(answer, None) for name, answer in answers.items()}
    assert said["official"] == "“right”, “laptop”: top right" and said["paper"] == "“right”: right"
    assert said["none"] == "no rectifier"
    ordinal = rectifier_study.ask(gallery, case._replace(sentence="second from left"))
    assert "does not count: ordinal" in rectifier_charts._said(ordinal["extended"], MASKS[0])
    picture = rectifier_charts.forms_row(grey(SIZE_HW), answers, MASKS[3])
    assert picture.png()[:4] == b"\x89PNG"


def test_a_run_without_masks_has_nothing_to_rectify():
    with pytest.raises(TasError, match="no sentence of the run has a mask"):
        rectifier_study.with_forms(gallery_of(["dog"], empty=True))
