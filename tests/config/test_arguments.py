"""What cannot be read as `KEY=VALUE`, or names several runs."""

import pytest


@pytest.mark.parametrize(
    "words",
    ["keep_rate 0.5", "keep_rate = 0.5", "keep_rate= 0.5", "keep_rate =0.5", "--keep_rate 0.5", "--keep-rate 0.5"],
)
def test_a_setting_torn_apart_is_one_fault(faults_of, words):
    assert faults_of(words) == [f"{words}: a setting is written without spaces. Did you mean keep_rate=0.5?"]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("--keep_rate=0.5", "--keep_rate=0.5: there is no such option; a setting has no dashes. "
                            "Did you mean keep_rate=0.5?"),
        ("--image-size=448", "--image-size=448: there is no such option; a setting has no dashes. "
                             "Did you mean image_size=448?"),
        ("--fast", "--fast: there is no such option; a setting has no dashes. Write KEY=VALUE, such as keep_rate=0.5."),
        ("train", "train: expected KEY=VALUE, such as keep_rate=0.5."),
        ("evit", "evit: expected KEY=VALUE, such as keep_rate=0.5. Did you mean reducer=evit?"),
        ("=3", "=3: there is no name before the equals sign. Write KEY=VALUE, such as keep_rate=0.5."),
        ("keep_rate=[0.5,0.7", "keep_rate=[0.5,0.7: the brackets [] do not match. Close each bracket that is opened."),
        ("dataset.root=~/data", "dataset.root=~/data: the value has characters with a meaning of their own. "
                                "Quote it twice: 'dataset.root=\"~/data\"'"),
        ("optim.betas[0]=0.5", "optim.betas[0]=0.5: 'optim.betas[0]' cannot name a setting. "
                               "Write KEY=VALUE without spaces, such as keep_rate=0.5."),
        ('dataset.root="~/data', 'dataset.root="~/data: the value cannot be read; check its quotes and brackets.'),
    ],
)  # fmt: skip
def test_unreadable(faults_of, line, fault):
    assert faults_of(line) == [fault]


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        ("reducer=evit,topk", "To start one run for each, add --multirun."),
        ("seed=range(1,4)", "To start one run for each, add --multirun."),
        ("keep_rate=0.5,0.7,0.9", "To start one run for each, add --multirun. "
                                  "For one run with a list: keep_rate=[0.5,0.7,0.9]."),
        ("keep_rate=0,5", "To start one run for each, add --multirun. For a decimal: keep_rate=0.5."),
        ("dataset.root=/a,b/c", "To start one run for each, add --multirun. "
                                "For a path with a comma: 'dataset.root=\"/a,b/c\"'."),
    ],
)  # fmt: skip
def test_several_values_are_no_single_run(faults_of, line, advice):
    assert faults_of(line) == [f"{line}: this names several values. {advice}"]


@pytest.mark.parametrize("quoted", ['dataset.root="~/data"', 'dataset.root="/a,b/c"', 'dataset.name="Ähre"'])
def test_the_advice_to_quote_works(faults_of, quoted):
    assert faults_of(quoted) == []
