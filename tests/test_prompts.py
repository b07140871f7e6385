"""Prompts and their targets, token by token, for the common kinds of tokenizers."""
# ruff: noqa: RUF001 - scripts of every kind

import pytest
from tiny_tokenizers import byte_level, byte_level_masked, metaspace, word_piece
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from atlas.errors import PromptError
from atlas.facts import Fact, Template
from atlas.prompts import (
    Prompt,
    UnusablePrompt,
    cloze,
    encode,
    ends_in_object,
    fill,
    read_anew,
    subject_end,
)
from atlas.scripts import blank_between, closes

CONTEXT = 40


def spelled(prompt, tokenizer, objective, context=CONTEXT):
    """Every target as (tokens up to the position, tokens from there on, answer token)."""
    spell = tokenizer.convert_ids_to_tokens
    return [
        (
            " ".join(spell(list(target.token_ids[: target.position + 1]))),
            " ".join(spell(list(target.token_ids[target.position + 1 :]))),
            spell(target.token),
        )
        for target in encode(prompt, tokenizer, objective, context)
    ]


def refused(prompt, tokenizer, objective, context=CONTEXT):
    """The reason and the message with which a prompt is refused."""
    with pytest.raises(UnusablePrompt) as refusal:
        encode(prompt, tokenizer, objective, context)
    assert isinstance(refusal.value, PromptError)
    assert "\n" not in str(refusal.value)
    return refusal.value.reason, str(refusal.value)


# --- masked models


def test_a_word_piece_answer_is_predicted_at_its_mask():
    prompt = Prompt("The capital of France is [MASK].", "Paris")
    assert spelled(prompt, word_piece(), "masked") == [
        ("[CLS] The capital of France is [MASK]", ". [SEP]", "Paris")
    ]


def test_the_mask_may_stand_at_the_start():
    prompt = Prompt("[MASK] is the capital of France.", "Paris")
    assert spelled(prompt, word_piece(), "masked") == [
        ("[CLS] [MASK]", "is the capital of France . [SEP]", "Paris")
    ]


def test_mask_is_translated_to_the_tokenizers_own_and_takes_the_blank_before_it():
    prompt = Prompt("The capital of France is [MASK].", "Paris")
    assert spelled(prompt, byte_level_masked(), "masked") == [
        ("<s> The Ġcapital Ġof ĠFrance Ġis <mask>", ". </s>", "ĠParis")
    ]


def test_a_byte_level_answer_at_the_start_has_no_blank_before_it():
    tokenizer = byte_level_masked()
    (first, *_) = spelled(Prompt("[MASK] of France", "The"), tokenizer, "masked")
    assert first == ("<s> <mask>", "Ġof ĠFrance </s>", "The")


def test_a_masked_answer_of_three_tokens_gets_three_masks_and_three_targets():
    prompt = Prompt("The capital of Kenya is [MASK].", "Antananarivo")
    masks = ["[MASK]", "[MASK] [MASK]", "[MASK] [MASK] [MASK]"]
    assert spelled(prompt, word_piece(), "masked") == [
        (f"[CLS] The capital of Kenya is {masks[0]}", f"{masks[1]} . [SEP]", "Anta"),
        (f"[CLS] The capital of Kenya is {masks[1]}", f"{masks[0]} . [SEP]", "##nana"),
        (f"[CLS] The capital of Kenya is {masks[2]}", ". [SEP]", "##rivo"),
    ]
    assert [t.index for t in encode(prompt, word_piece(), "masked", CONTEXT)] == [0, 1, 2]


@pytest.mark.parametrize("masks", ["[MASK] [MASK] [MASK]", "[MASK][MASK][MASK]"])
def test_as_many_masks_as_answer_tokens_mean_the_same_as_one_mask(masks):
    one = Prompt("The capital of Kenya is [MASK].", "Antananarivo")
    three = Prompt(f"The capital of Kenya is {masks}.", "Antananarivo")
    assert encode(three, word_piece(), "masked", CONTEXT) == encode(
        one, word_piece(), "masked", CONTEXT
    )


def test_two_masks_for_a_one_token_answer_are_refused_with_both_counts():
    reason, message = refused(Prompt("It is [MASK] [MASK].", "Paris"), word_piece(), "masked")
    assert reason == "masks do not match the answer"
    assert "2 masks" in message
    assert "1 token" in message


def test_masks_with_words_between_them_are_refused_rather_than_merged():
    prompt = Prompt("[MASK] of the [MASK].", "Paris Rome")
    assert refused(prompt, word_piece(), "masked")[0] == "masks stand apart"


def test_a_masked_prompt_without_a_mask_is_refused():
    reason, message = refused(Prompt("The capital of France is", "Paris"), word_piece(), "masked")
    assert reason == "no mask"
    assert "[MASK]" in message


def test_an_answer_that_runs_into_the_next_word_keeps_its_own_tokens_and_its_blank():
    (target,) = spelled(Prompt("in [MASK]nana", "Anta"), word_piece(), "masked")
    assert target[2] == "Anta"
    (target,) = spelled(
        Prompt("is [MASK]e", "Rom"), byte_level_masked(), "masked"
    )  # ĠRome: a token
    assert target == ("<s> i s <mask>", "e </s>", "ĠRom")


# --- causal models


def test_a_byte_level_answer_takes_the_blank_before_it_and_nothing_is_added():
    prompt = Prompt("The capital of France is", "Paris")
    assert spelled(prompt, byte_level(), "causal") == [
        ("The Ġcapital Ġof ĠFrance Ġis", "", "ĠParis")
    ]


def test_a_metaspace_answer_follows_the_start_token_and_the_text():
    prompt = Prompt("The capital of France is", "Paris")
    assert spelled(prompt, metaspace(), "causal") == [
        ("<s> ▁The ▁capital ▁of ▁France ▁is", "", "▁Paris")
    ]


@pytest.mark.parametrize("build", [byte_level, metaspace])
@pytest.mark.parametrize(("text", "answer"), [(" is ", "Paris"), ("is", " Paris ")])
def test_blanks_around_a_causal_text_and_answer_change_nothing(build, text, answer):
    plain = encode(Prompt("The capital of France is", "Paris"), build(), "causal", CONTEXT)
    spaced = Prompt(f"The capital of France {text.lstrip()}", answer)
    assert encode(spaced, build(), "causal", CONTEXT) == plain


def test_a_causal_answer_of_three_tokens_is_teacher_forced():
    prompt = Prompt("The capital of Kenya is", "Antananarivo")
    start = "<s> ▁The ▁capital ▁of ▁Kenya ▁is"
    assert spelled(prompt, metaspace(), "causal") == [
        (start, "", "▁Anta"),
        (f"{start} ▁Anta", "", "nana"),
        (f"{start} ▁Anta nana", "", "rivo"),
    ]


def test_a_byte_level_answer_of_two_tokens_is_teacher_forced():
    prompt = Prompt("The capital of Italy is", "Romes")
    start = "The Ġcapital Ġof ĠItaly Ġis"
    assert spelled(prompt, byte_level(), "causal") == [
        (start, "", "ĠRome"),
        (f"{start} ĠRome", "", "s"),
    ]


def appending(tokenizer, token):
    """The tokenizer, made to append a token to every text, as some do with their end of text."""
    ending = (token, tokenizer.convert_tokens_to_ids(token))
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {token}", special_tokens=[ending]
    )
    assert tokenizer("The").input_ids[-1] == ending[1]
    return tokenizer


def test_an_appended_end_of_text_is_dropped_because_nothing_could_follow_it():
    prompt = Prompt("The capital of Italy is", "Romes")
    ended = appending(byte_level(), "<|endoftext|>")
    assert encode(prompt, ended, "causal", CONTEXT) == encode(
        prompt, byte_level(), "causal", CONTEXT
    )


def test_an_appended_separator_is_dropped_too_when_a_bert_is_used_as_a_decoder():
    prompt = Prompt("The capital of Kenya is", "Antananarivo")
    assert spelled(prompt, word_piece(), "causal")[1] == (
        "[CLS] The capital of Kenya is Anta",
        "",
        "##nana",
    )


# --- text as written


def asked(template, answer, tokenizer, objective="causal"):
    return spelled(cloze(template, answer, objective), tokenizer, objective)


def test_a_newline_in_a_causal_template_is_a_newline_and_the_blank_is_the_answers():
    (only,) = asked("The capital of Ireland is\nin [Y].", "Paris", byte_level())
    assert only == ("The Ġcapital Ġof ĠIreland Ġis Ċ i n", "", "ĠParis")


def test_a_newline_before_the_answer_is_no_blank():
    first, *rest = asked("The capital of Ireland is\n[Y]", "Rome", byte_level())
    assert first == ("The Ġcapital Ġof ĠIreland Ġis Ċ", "", "R")
    assert [target[2] for target in rest] == ["o", "m", "e"]


def test_double_blanks_in_a_causal_template_stay():
    (only,) = asked("The  capital is  [Y].", "Paris", byte_level())
    assert only == ("The Ġ Ġcapital Ġis Ġ", "", "ĠParis")


def test_a_template_without_a_blank_before_the_object_gives_the_answer_none():
    assert asked("The capital is'[Y]'.", "Rome", byte_level())[0] == ("The Ġcapital Ġis '", "", "R")


def test_a_newline_before_a_mask_that_swallows_blanks_stays_the_prompts():
    (first, *rest) = asked("The capital is\n[Y].", "Rome", byte_level_masked(), "masked")
    assert first[0] == "<s> The Ġcapital Ġis Ċ <mask>"
    assert [target[2] for target in (first, *rest)] == ["R", "o", "m", "e"]


def test_a_double_blank_before_a_mask_gives_the_answer_one():
    (only,) = asked("The capital is  [Y].", "Rome", byte_level_masked(), "masked")
    assert only == ("<s> The Ġcapital Ġis Ġ <mask>", ". </s>", "ĠRome")


@pytest.mark.parametrize(
    ("text", "answer", "blank"),
    [
        ("The capital of France is", "Paris", " "),
        ("The capital of France:", "Paris", " "),
        ("The capital of France is the", "(old) Paris", " "),
        ("The capital of France is (", "Paris", ""),
        ('The capital of France is "', "Paris", ""),
        ("The capital of “France”", "Paris", " "),
        ('The capital of "France"', "Paris", " "),
        ("法国的首都是", "巴黎", ""),
        ("法国的首都:", "巴黎", ""),
        ("法国的首都：", "Paris", ""),
        ("フランスの首都は", "パリ", ""),
        ("เมืองหลวงของฝรั่งเศสคือ", "ปารีส", ""),
        ("프랑스의 수도는", "파리", " "),
        ("In Chinese, Paris is", "巴黎", " "),
        ("La capitale de l'", "Italie", ""),
        ("The capital is\n", "Paris", ""),
        ("https://en.wikipedia.org/wiki/", "Paris", ""),
        ("It costs $", "5", ""),
        ("", "Paris", ""),
    ],
)
def test_a_prompt_without_template_has_a_blank_where_running_text_has_one(text, answer, blank):
    assert blank_between(text, answer) == blank


def test_a_blank_that_is_typed_counts_whatever_the_script():
    typed = encode(Prompt("The capital is '", " Paris"), byte_level(), "causal", CONTEXT)
    told = encode(Prompt("The capital is '", "Paris", " "), byte_level(), "causal", CONTEXT)
    ends = encode(Prompt("The capital is ' ", "Paris"), byte_level(), "causal", CONTEXT)
    assert typed == told == ends
    assert len(typed) == 1


@pytest.mark.parametrize(
    "mark",
    [
        ".",
        "。",
        "！",
        "？",
        "؟",
        "۔",
        "।",
        "…",
        "»",
        "”",
        "’",
        ")",
        "]",
        "』",
        "）。",
        "“",
        "።",
        "\n",
    ],
)
def test_what_closes_a_sentence_in_any_script_may_follow_the_object(mark):
    assert closes(mark)
    assert ends_in_object(f"[X] – [Y]{mark}")


@pytest.mark.parametrize("more", [",", " I think", "、", " (of", ":", "—", "?!a"])
def test_what_says_more_may_not_follow_the_object(more):
    assert not ends_in_object(f"[X] – [Y]{more}")


@pytest.mark.parametrize(
    ("build", "objective", "start", "template"),
    [
        (metaspace, "causal", "<s>", "The capital of France is [Y]"),
        (word_piece, "masked", "[CLS] ", "The capital of France is [Y]."),
        (byte_level_masked, "masked", "<s>", "The capital of France is [Y]."),
    ],
)
def test_a_start_token_typed_in_a_template_is_not_doubled(build, objective, start, template):
    typed = encode(cloze(start + template, "Paris", objective), build(), objective, CONTEXT)
    assert typed == encode(cloze(template, "Paris", objective), build(), objective, CONTEXT)


def test_an_end_token_typed_in_a_masked_template_is_not_doubled():
    typed = asked("The capital of France is [Y]. [SEP]", "Paris", word_piece(), "masked")
    assert typed == asked("The capital of France is [Y].", "Paris", word_piece(), "masked")


def test_a_typed_end_of_text_is_kept_before_the_answer():
    (only,) = asked("The capital<|endoftext|> [Y]", "Paris", byte_level())
    assert only == ("The Ġcapital <|endoftext|>", "", "ĠParis")


def test_a_start_token_typed_where_the_tokenizer_adds_none_is_there_once():
    (only,) = asked("<|endoftext|>The capital is [Y]", "Paris", byte_level())
    assert only == ("<|endoftext|> The Ġcapital Ġis", "", "ĠParis")


def test_the_tokenizers_own_mask_is_a_mask_too():
    typed = encode(
        Prompt("The capital is <mask>.", "Paris"), byte_level_masked(), "masked", CONTEXT
    )
    assert typed == encode(
        Prompt("The capital is [MASK].", "Paris"), byte_level_masked(), "masked", CONTEXT
    )


def test_an_answer_that_a_token_joins_to_the_text_is_asked_as_the_model_reads_it_and_said():
    tokenizer = byte_level()  # "The" is one token, whatever T and he are
    targets = encode(cloze("is T[Y]", "he", "causal"), tokenizer, "causal", CONTEXT)
    whole = tokenizer("is The").input_ids
    assert [*targets[-1].token_ids, targets[-1].token] == whole
    assert all(target.across for target in targets)
    apart = encode(cloze("is T [Y]", "he", "causal"), tokenizer, "causal", CONTEXT)
    assert not any(target.across for target in apart)


def test_an_answer_that_the_first_token_holds_is_refused():
    reason, _ = refused(cloze("T[Y]", "he", "causal"), byte_level(), "causal")
    assert reason == "no token before the answer"


@pytest.mark.parametrize("template", ["The capital of [X] is [Y].", "[Y] is of [X]", "[X] – [Y]!"])
def test_templates_that_were_always_asked_as_written_are_the_runs_that_they_were(template):
    for build, objective in ((byte_level, "causal"), (word_piece, "masked")):
        assert not read_anew(template, objective, build())


def test_templates_that_were_asked_otherwise_make_another_run():
    assert read_anew("[X]的首都是[Y]", "causal", byte_level())
    assert not read_anew("[X]的首都是[Y]", "masked", word_piece())
    assert read_anew("[X] is [Y]。", "causal", byte_level())
    assert read_anew("<s>[X] is [Y]", "causal", metaspace())
    assert read_anew("[CLS] [X] is [Y]", "masked", word_piece())


# --- tokenizers' habits


@pytest.mark.parametrize(
    ("build", "objective"),
    [
        (word_piece, "masked"),
        (byte_level_masked, "masked"),
        (byte_level, "causal"),
        (metaspace, "causal"),
    ],
)
def test_padding_side_and_padding_token_change_no_target(build, objective):
    before = "The capital of Italy is"
    prompt = Prompt(before if objective == "causal" else f"{before} [MASK].", "Rome")
    sides = {}
    for side in ("left", "right"):
        tokenizer = build()
        tokenizer.padding_side = tokenizer.truncation_side = side
        sides[side] = encode(prompt, tokenizer, objective, CONTEXT)
    unpadded = build()
    unpadded.pad_token = None
    padded_with_end = build()
    padded_with_end.pad_token = padded_with_end.eos_token or padded_with_end.sep_token
    assert unpadded.pad_token_id is None
    assert (
        sides["left"]
        == sides["right"]
        == encode(prompt, unpadded, objective, CONTEXT)
        == encode(prompt, padded_with_end, objective, CONTEXT)
    )


# --- what cannot be asked


@pytest.mark.parametrize(("build", "objective"), [(word_piece, "masked"), (metaspace, "causal")])
@pytest.mark.parametrize("text", ["", "  ", "\n\t"])
def test_an_empty_prompt_is_refused(build, objective, text):
    assert refused(Prompt(text, "Paris"), build(), objective)[0] == "empty prompt"


@pytest.mark.parametrize(
    ("build", "objective", "text"), [(word_piece, "masked", "[MASK]"), (metaspace, "causal", "The")]
)
@pytest.mark.parametrize("answer", ["", "  ", "\n"])
def test_an_empty_answer_is_refused(build, objective, text, answer):
    assert refused(Prompt(text, answer), build(), objective)[0] == "empty answer"


@pytest.mark.parametrize(
    ("build", "objective", "text"),
    [(word_piece, "masked", "The capital is [MASK]."), (metaspace, "causal", "The capital is")],
)
@pytest.mark.parametrize("answer", ["Łódź", "日本", "Paris 日本"])
def test_an_answer_with_an_unknown_token_is_refused_by_name(build, objective, text, answer):
    reason, message = refused(Prompt(text, answer), build(), objective)
    assert reason == "answer has an unknown token"
    assert answer in message


def test_an_unknown_token_in_the_text_is_no_reason_to_refuse():
    (target,) = encode(Prompt("日本 is [MASK].", "Paris"), word_piece(), "masked", CONTEXT)
    assert word_piece().unk_token_id in target.token_ids


def cleaning():
    """A masked tokenizer that, as BERT's does, drops control characters."""
    vocabulary = {token: i for i, token in enumerate(["[UNK]", "[MASK]", "The", "is", "a"])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=False)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="[UNK]", mask_token=AddedToken("[MASK]", special=True)
    )


@pytest.mark.parametrize(("objective", "text"), [("masked", "The [MASK]"), ("causal", "The")])
def test_an_answer_that_tokenises_to_nothing_is_refused(objective, text):
    assert refused(Prompt(text, "\x01"), cleaning(), objective)[0] == "answer has no token"


def test_a_causal_prompt_that_tokenises_to_nothing_is_refused():
    assert refused(Prompt("\x01", "is"), cleaning(), "causal")[0] == "empty prompt"


def test_a_prompt_of_exactly_the_context_is_asked_and_one_more_token_is_refused():
    prompt = Prompt("The capital of France is [MASK].", "Paris")  # with [CLS] and [SEP] 9 tokens
    assert len(encode(prompt, word_piece(), "masked", 9)) == 1
    reason, message = refused(prompt, word_piece(), "masked", 8)
    assert reason == "prompt is longer than the model's context"
    assert "9 tokens" in message
    assert "at most 8" in message


def test_the_last_answer_token_needs_no_room_of_its_own_in_a_causal_context():
    prompt = Prompt("The capital of Kenya is", "Antananarivo")  # 6 tokens, then Anta, nana
    assert len(encode(prompt, metaspace(), "causal", 8)) == 3
    assert "8 tokens" in refused(prompt, metaspace(), "causal", 7)[1]


def test_the_masks_of_a_long_answer_count_towards_the_context():
    prompt = Prompt("The capital of Kenya is [MASK].", "Antananarivo")
    assert "11 tokens" in refused(prompt, word_piece(), "masked", 10)[1]


def test_a_prompt_beyond_the_tokenizers_limit_is_refused_in_silence(capfd):
    tokenizer = word_piece()
    tokenizer.model_max_length = 4
    prompt = Prompt("The capital of France is [MASK].", "Paris")
    assert "context" in refused(prompt, tokenizer, "masked", 4)[0]
    assert capfd.readouterr() == ("", "")


# --- from templates to prompts

FACT = Fact("f1", "P36", "Ireland", "Dublin")


def filled(text):
    return fill(Template("P36", text), FACT)


def test_filling_puts_the_subject_in_and_leaves_the_object_out():
    assert filled("The capital of [X] is [Y].") == "The capital of Ireland is [Y]."


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("The capital of [X] is [Y].", True),
        ("The capital of [X] is [Y]", True),
        ("The capital of [X] is [Y] .", True),
        ("The capital of [X] is [Y]!", True),
        ("The capital of [X] is [Y], I think.", False),
        ("[Y] is the capital of [X].", False),
        ("In [X], [Y] is the capital.", False),
        ("[Y].", False),
        ("The capital of [X].", False),
    ],
)
def test_only_templates_that_end_in_the_object_serve_a_causal_model(text, ends):
    assert ends_in_object(text) is ends
    if ends:
        assert cloze(filled(text), "Dublin", "causal").text.endswith("Ireland is")
    else:
        with pytest.raises(UnusablePrompt, match=r"ends in \[Y\]") as refusal:
            cloze(filled(text), "Dublin", "causal")
        assert refusal.value.reason == "template does not end in [Y]"


def test_a_masked_cloze_keeps_what_follows_the_object():
    prompt = cloze(filled("[Y] is the capital of [X]."), "Dublin", "masked")
    assert prompt == Prompt("[MASK] is the capital of Ireland.", "Dublin")


def test_a_causal_cloze_ends_in_the_last_word_before_the_object():
    prompt = cloze(filled("The capital of [X] is [Y]."), "Dublin", "causal")
    assert prompt == Prompt("The capital of Ireland is", "Dublin", " ")


# --- where the subject ends


def subject_tokens(template, subject, answer, tokenizer, objective):
    """Per target, the token in which the subject ends."""
    fact = Fact("f", "P36", subject, answer)
    filled = Template("P36", template)
    end = subject_end(filled, fact)
    prompt = cloze(fill(filled, fact), answer, objective, end)
    return [
        tokenizer.convert_ids_to_tokens(target.token_ids[target.site])
        for target in encode(prompt, tokenizer, objective, CONTEXT)
    ]


@pytest.mark.parametrize(
    ("template", "subject", "last"),
    [
        ("The capital of [X] is [Y].", "France", "France"),
        ("[X] has the capital [Y].", "Norway", "Norway"),  # at the start
        ("[Y] is the capital of [X].", "France", "France"),  # behind the mask
        ("In [X], the capital is [Y].", "Antananarivo", "##rivo"),  # of several tokens
        ("The [X]rivo capital is [Y].", "Antana", "##na"),  # a suffix is glued on
    ],
)
def test_a_subject_ends_in_its_last_word_piece(template, subject, last):
    tokenizer = word_piece()
    found = subject_tokens(template, subject, "Paris", tokenizer, "masked")
    pieces = tokenizer.tokenize(subject)
    assert found == [pieces[-1]] if last not in tokenizer.get_vocab() else found == [last]


def test_the_masks_of_an_answer_of_several_tokens_move_a_subject_behind_them():
    tokenizer = word_piece()
    found = subject_tokens(
        "[Y] is the capital of [X].", "France", "Antananarivo", tokenizer, "masked"
    )
    assert len(found) > 1
    assert set(found) == {"France"}


@pytest.mark.parametrize("tokens", [byte_level, metaspace])
def test_a_causal_models_subject_ends_where_it_ends_in_the_text(tokens):
    tokenizer = tokens()
    for template in ("The capital of [X] is [Y].", "[X] has the capital [Y]"):
        (found,) = subject_tokens(template, "France", "Paris", tokenizer, "causal")
        assert found.strip("Ġ▁").endswith("e")  # the last character of France
        assert tokenizer.convert_tokens_to_string([found]).strip() in "France"


def test_a_character_split_into_bytes_ends_in_the_last_of_them():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({byte: i for i, byte in enumerate(alphabet)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    text = "The capital of 京 is"
    end = text.index("京") + 1
    (target, *_) = encode(Prompt(text, "Paris", subject_end=end), tokenizer, "causal", 99)
    assert target.site == len(text[:end].encode()) - 1


def test_a_text_that_ends_in_its_subject_is_measured_at_the_answer_position():
    prompt = cloze("Paris is in France [Y]", "Rome", "causal", len("Paris is in France"))
    (target,) = encode(prompt, byte_level(), "causal", CONTEXT)
    assert target.site == target.position


def test_a_subject_that_no_token_holds_is_refused():
    tokenizer = word_piece()
    reason, message = refused(
        Prompt("The capital of   is [MASK].", "Paris", subject_end=16), tokenizer, "masked"
    )
    assert reason == "subject has no token"
    assert "no token of" in message


def test_without_offsets_the_text_up_to_the_subject_is_tokenised_by_itself():
    class Slow:
        """A tokenizer that does not tell which characters a token holds."""

        is_fast = False

        def __init__(self, fast):
            self.fast = fast

        def __getattr__(self, name):
            return getattr(self.fast, name)

        def __call__(self, text, **options):
            options.pop("return_offsets_mapping", None)
            return self.fast(text, **options)

    for tokens, objective in ((word_piece, "masked"), (byte_level, "causal")):
        for template in ("The capital of [X] is [Y].", "[X] has the capital [Y]."):
            asked = (template, "France", "Paris")
            fast = subject_tokens(*asked, tokens(), objective)
            assert subject_tokens(*asked, Slow(tokens()), objective) == fast


def test_a_template_without_a_subject_has_no_end_of_it():
    fact = Fact("f", "P36", "France", "Paris")
    assert subject_end(Template("P36", "The capital is [Y]."), fact) is None
    assert subject_end(Template("P36", "Of [X] it is [Y]."), fact) == len("Of France")
