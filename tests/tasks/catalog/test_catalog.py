"""Datasets, tasks and suites by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from backbones.io.card_files import CardNameError, UnknownName
from tasks.catalog.catalog import TaskCatalog
from tasks.catalog.protocols import PROTOCOLS, FewShotParameters, KnnParameters, LinearParameters, suitable_protocols
from tasks.catalog.spec import OverrideError, TaskSpec, parse_overrides
from tasks.datasets.layouts import LAYOUTS, targets_of

BUILT_IN = TaskCatalog.load()
MANY_SHOT = (
    *("aircraft", "caltech101", "cars", "cifar10", "cifar100", "dtd"),
    *("flowers", "food", "pets", "sun397", "voc2007"),
)
CD_FSL = ("chestx", "cropdiseases", "eurosat", "isic")
DATASET = 'title = "T"\nreader = "imagefolder"\nfolder = "Mine"\nprotocols = ["linear", "few-shot-*"]\n'


def write(folder: Path, **cards: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in cards.items():
        (folder / f"{name}.toml").write_text(text)
    return folder


def problems(catalog: TaskCatalog) -> str:
    return "\n".join(str(problem) for problem in catalog.problems)


# --- The built-in cards


def test_every_built_in_card_loads() -> None:
    assert BUILT_IN.problems == ()
    assert set(MANY_SHOT) | set(CD_FSL) <= set(BUILT_IN.datasets)
    assert {"demo", "paper", "paper-linear", "paper-finetune", "paper-dense", "kornblith-few-shot", "cd-fsl"} <= set(
        BUILT_IN.suites
    )


@pytest.mark.parametrize("name", BUILT_IN.datasets)
def test_a_built_in_dataset_card_is_complete(name: str) -> None:
    card = BUILT_IN.datasets[name]
    assert card.reader in LAYOUTS
    assert suitable_protocols(card) or targets_of(card) == ("shift",)
    assert card.classes is not None or set(suitable_protocols(card)) <= {"normals", "depth", "instance-retrieval"}
    if LAYOUTS[card.reader].embedded:
        assert (card.folder, card.download) == (None, "none")
    else:
        assert card.folder
        assert card.page
        assert card.download == "automatic" or card.instructions


@pytest.mark.parametrize("name", BUILT_IN.task_names)
def test_every_task_resolves_with_every_preset_to_parameters_of_its_protocol(name: str) -> None:
    facts = PROTOCOLS[name.partition("/")[0]]
    for preset in facts.presets:
        spec = BUILT_IN.resolve(name, preset)
        assert (spec.name, spec.variant) == (name, preset)
        assert spec.typed_parameters() == facts.presets[preset]
        assert TaskSpec.model_validate_json(spec.model_dump_json()) == spec


def test_metrics_are_those_of_the_paper() -> None:
    by_metric: dict[str, set[str]] = {}
    for name in MANY_SHOT:
        by_metric.setdefault(BUILT_IN.datasets[name].metric, set()).add(name)
    assert by_metric == {
        "accuracy": {"cars", "cifar10", "cifar100", "dtd", "food", "sun397"},
        "mean-per-class": {"aircraft", "caltech101", "flowers", "pets"},
        "map11": {"voc2007"},
    }


def test_suites_are_the_papers_tables() -> None:
    linear = BUILT_IN.select(suite="paper-linear")
    assert {spec.name for spec in linear} == {f"linear/{name}" for name in MANY_SHOT}
    assert {spec.preset for spec in linear} == {"paper"}
    few_shot = {spec.name for spec in BUILT_IN.select(suite="kornblith-few-shot")}
    left_out = {f"few-shot-50/{name}" for name in ("caltech101", "cars", "flowers")}
    single_label = set(MANY_SHOT) - {"voc2007"}
    assert few_shot == {f"few-shot-{n}/{name}" for n in (5, 20, 50) for name in single_label} - left_out
    assert {spec.name for spec in BUILT_IN.select(suite="paper-finetune")} == {f"finetune/{name}" for name in MANY_SHOT}
    assert {spec.name for spec in BUILT_IN.select(suite="paper-dense")} == {"normals/nyuv2", "segmentation/ade20k"}
    assert {spec.name for spec in BUILT_IN.select(suite="cd-fsl")} == {
        f"few-shot-{n}/{name}" for n in (5, 20, 50) for name in CD_FSL
    }


def test_the_papers_analyses_are_of_all_fifteen_recognition_datasets() -> None:
    analyses = BUILT_IN.select(suite="paper-analysis")
    of_images = {f"{protocol}/{name}" for protocol in ("attention", "inversion") for name in (*MANY_SHOT, *CD_FSL)}
    assert len(of_images) == 2 * 15
    assert {spec.name for spec in analyses} == of_images | {f"colour/{name}" for name in MANY_SHOT}
    assert {spec.preset for spec in analyses} == {"paper"}


def test_the_demo_needs_no_download() -> None:
    specs = BUILT_IN.select(suite="demo")
    assert 8 <= len(specs) <= 20
    assert all(LAYOUTS[BUILT_IN.dataset(spec.dataset).reader].embedded for spec in specs)
    later = [spec for suite in ("one-pass", "vit-2026", "robustness") for spec in BUILT_IN.select(suite=suite)]
    families = {PROTOCOLS[spec.protocol].family for spec in [*specs, *later]}
    of_any_data = {"instance-retrieval", "transferability-sample"}  # of a race on any labelled images
    assert families == {facts.family for facts in PROTOCOLS.values()} - of_any_data
    trained = [spec for spec in specs if PROTOCOLS[spec.protocol].inputs == "images"]
    assert {spec.variant for spec in trained} == {"small"}


# --- Names


def test_globs_choose_tasks_each_once_in_the_order_of_the_patterns() -> None:
    names = [spec.name for spec in BUILT_IN.select(["knn/cifar*", "linear/cifar10", "*/cifar10"])]
    assert names[:3] == ["knn/cifar10", "knn/cifar100", "linear/cifar10"]
    assert len(names) == len(set(names))
    offered = suitable_protocols(BUILT_IN.dataset("cifar10"))
    assert set(names) == {f"{protocol}/cifar10" for protocol in offered} | {"knn/cifar100"}


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [("linear/cfiar10", "linear/cifar10"), ("liner/dtd", "linear/dtd"), ("few-shot-10/food", "few-shot-50/food")],
)
def test_an_unknown_task_is_answered_with_a_similar_one(name: str, suggestion: str) -> None:
    with pytest.raises(UnknownName, match=f"no task is named '{name}'; did you mean .*'{suggestion}'"):
        BUILT_IN.select([name])


def test_unknown_suites_presets_and_globs_are_errors_that_name_them() -> None:
    with pytest.raises(UnknownName, match="no suite is named 'paper-liner'; did you mean 'paper-linear'"):
        BUILT_IN.select(suite="paper-liner")
    with pytest.raises(UnknownName, match="preset of linear is named 'papper'; did you mean 'paper'"):
        BUILT_IN.resolve("linear/dtd", "papper")
    with pytest.raises(UnknownName, match=r"no task matches 'nothing/\*'"):
        BUILT_IN.select(["nothing/*"])


def test_a_protocol_that_a_dataset_does_not_offer_is_an_error_that_says_which_it_does() -> None:
    with pytest.raises(
        CardNameError,
        match=r"cars is not measured by few-shot-50: .* 20 shots at most; its protocols are linear, knn, few",
    ):
        BUILT_IN.resolve("few-shot-50/cars")
    with pytest.raises(CardNameError, match="voc2007 is not measured by few-shot-5"):
        BUILT_IN.resolve("few-shot-5/voc2007")


# --- Folders of images


def test_a_folder_of_images_is_a_dataset_by_its_path() -> None:
    spec = BUILT_IN.resolve("knn/imagefolder:/data/own")
    assert (spec.name, spec.protocol, spec.dataset) == ("knn/imagefolder:/data/own", "knn", "imagefolder:/data/own")
    card = BUILT_IN.dataset(spec.dataset)
    assert (card.reader, card.reader_arguments, card.classes) == ("imagefolder", {"path": "/data/own"}, None)


def test_a_bare_folder_of_images_means_its_linear_task() -> None:
    assert [spec.name for spec in BUILT_IN.select(["imagefolder:/data/own"])] == ["linear/imagefolder:/data/own"]
    assert BUILT_IN.resolve("imagefolder:/data/own").name == "linear/imagefolder:/data/own"


def test_a_relative_path_means_the_same_from_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert BUILT_IN.resolve("imagefolder:../x/own").dataset == f"imagefolder:{tmp_path.parent}/x/own"
    assert BUILT_IN.resolve("imagefolder:~/own").dataset == "imagefolder:/home/somebody/own"


def test_brackets_and_stars_of_a_path_are_not_a_glob() -> None:
    names = [spec.name for spec in BUILT_IN.select(["few-shot-*/imagefolder:/data/a[1]*"])]
    assert names == [f"few-shot-{n}/imagefolder:/data/a[1]*" for n in (5, 20, 50)]


def test_a_folder_without_a_path_is_an_error() -> None:
    with pytest.raises(CardNameError, match="names no folder"):
        BUILT_IN.resolve("linear/imagefolder:")


# --- Overrides


def test_settings_become_the_fields_own_types() -> None:
    spec = BUILT_IN.resolve(
        "knn/dtd", overrides=parse_overrides(["knn.neighbours=5,10", "knn.temperature=0.1", "knn.headline=5"])
    )
    assert spec.typed_parameters() == KnnParameters(neighbours=(5, 10), temperature=0.1, headline=5)
    linear = BUILT_IN.resolve(
        "linear/dtd", overrides=parse_overrides(["linear.max_iter=500", "linear.extend_grid=no", "linear.solver=exact"])
    )
    assert linear.typed_parameters() == LinearParameters(max_iter=500, extend_grid=False)


def test_a_setting_names_the_family_so_it_holds_for_every_number_of_shots() -> None:
    specs = BUILT_IN.select(["few-shot-*/dtd"], overrides=parse_overrides(["few-shot.episodes=7"]))
    parameters = [spec.typed_parameters() for spec in specs]
    assert parameters == [FewShotParameters(shots=n, episodes=7) for n in (5, 20, 50)]
    assert {spec.variant.partition("+")[0] for spec in specs} == {"default"}
    assert all("+" in spec.variant for spec in specs)


def test_a_setting_that_changes_nothing_is_the_preset_itself() -> None:
    assert BUILT_IN.resolve("linear/dtd", overrides=parse_overrides(["linear.max_iter=1000"])).variant == "default"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("linear.max_itr=3", "linear has no parameter 'max_itr': did you mean 'max_iter'"),
        ("linaer.max_iter=3", "no protocol family 'linaer': did you mean 'linear'"),
        ("few-shot-5.episodes=3", "no protocol family 'few-shot-5': did you mean 'few-shot'"),
        ("linear.max_iter=many", "linear.max_iter cannot be 'many': it takes a whole number"),
        ("few-shot.episodes=1.5", "few-shot.episodes cannot be '1.5': it takes a whole number"),
        ("linear.solver=newton", "linear.solver cannot be 'newton': it takes exact or published"),
        ("knn.neighbours=5,x", "knn.neighbours cannot be '5,x': it takes several values with commas"),
        ("linear.max_iter", "'linear.max_iter' is not a setting: write family.key=value"),
        ("max_iter=3", "'max_iter=3' is not a setting: write family.key=value"),
    ],
)
def test_a_wrong_setting_is_an_error_that_says_what_would_be_right(setting: str, message: str) -> None:
    with pytest.raises(OverrideError, match=message):
        parse_overrides([setting])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("few-shot.episodes=0", "few-shot: episodes must be at least 1, not 0"),
        ("few-shot.ways=1", "few-shot: ways must be at least 2"),
        ("linear.tolerance=nan", "linear: tolerance must be above 0"),
        ("linear.validation_share=1", "linear: validation_share is a share"),
        ("linear.strength_low=9", r"linear: strength_low 9.0 is above strength_high 5.0"),
        ("knn.neighbours=20,0", "knn: neighbours must be at least 1, not 0"),
    ],
)
def test_a_value_with_which_the_protocol_makes_no_sense_is_an_error(setting: str, message: str) -> None:
    with pytest.raises(OverrideError, match=message):
        BUILT_IN.select(["*/dtd"], overrides=parse_overrides([setting]))


def test_a_wrong_change_of_a_protocol_that_was_not_picked_is_an_error_too() -> None:
    with pytest.raises(OverrideError, match="max_itr"):
        BUILT_IN.select(["knn/dtd"], overrides={"linear": {"max_itr": 3}})


# --- The user's cards


def test_the_users_folder_holds_datasets_tasks_and_suites_side_by_side(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        mine=DATASET,
        quick='title = "Q"\nprotocol = "few-shot-5"\ndataset = "mine"\n[parameters]\nepisodes = 20\n',
        both='title = "B"\ntasks = ["quick", "linear/mine", "linear/d*"]\npreset = "paper"\n',
    )
    catalog = TaskCatalog.load([folder])
    assert catalog.problems == ()
    assert {"linear/mine", "few-shot-50/mine", "quick"} <= set(catalog.task_names)
    assert "knn/mine" not in catalog.task_names
    assert catalog.resolve("quick").typed_parameters() == FewShotParameters(shots=5, episodes=20)
    assert [spec.name for spec in catalog.select(suite="both")] == [
        "quick",
        "linear/mine",
        "linear/digits",
        "linear/dtd",
    ]


def test_settings_come_after_a_task_cards_own_parameters(tmp_path: Path) -> None:
    folder = write(
        tmp_path, quick='title = "Q"\nprotocol = "few-shot-5"\ndataset = "dtd"\n[parameters]\nepisodes = 20\nways = 3\n'
    )
    spec = TaskCatalog.load([folder]).resolve("quick", overrides=parse_overrides(["few-shot.episodes=30"]))
    assert spec.typed_parameters() == FewShotParameters(shots=5, episodes=30, ways=3)


def test_a_suites_preset_and_parameters_hold_for_its_tasks_unless_asked_otherwise(tmp_path: Path) -> None:
    text = (
        'title = "S"\ntasks = ["few-shot-5/dtd", "linear/dtd"]\npreset = "paper"\n[parameters.few-shot]\nepisodes = 9\n'
    )
    catalog = TaskCatalog.load([write(tmp_path, small=text)])
    few, linear = (spec.typed_parameters() for spec in catalog.select(suite="small"))
    assert few == FewShotParameters(shots=5, episodes=9)
    assert linear == PROTOCOLS["linear"].presets["paper"]
    few, linear = (
        spec.typed_parameters()
        for spec in catalog.select(suite="small", preset="default", overrides={"few-shot": {"episodes": "8"}})
    )
    assert (few, linear) == (FewShotParameters(shots=5, episodes=8), LinearParameters())


def test_a_suite_and_further_tasks_are_picked_together(tmp_path: Path) -> None:
    names = [spec.name for spec in BUILT_IN.select(["knn/dtd", "linear/digits"], suite="demo")]
    assert names[-1] == "knn/dtd"
    assert names.count("linear/digits") == 1
    assert len(names) == len(BUILT_IN.select(suite="demo")) + 1


def test_a_users_card_stands_in_for_a_built_in_one_of_its_name(tmp_path: Path) -> None:
    catalog = TaskCatalog.load([write(tmp_path, dtd=DATASET)])
    assert catalog.dataset("dtd").title == "T"
    assert [str(replacement).split(":")[0] for replacement in catalog.replacements] == ["dtd"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            DATASET.replace("imagefolder", "imagefoldr"),
            "reader: there is no reader 'imagefoldr': did you mean 'imagefolder'",
        ),
        (DATASET.replace("linear", "liner"), "no protocol is named 'liner'; did you mean 'linear'"),
        (DATASET.replace('folder = "Mine"\n', ""), "folder: is missing"),
        (DATASET + 'titel = "T"\n', "titel: unknown key; did you mean 'title'"),
        (DATASET + "classes = 1\n", "classes: "),
        (
            DATASET + 'targets = ["mask"]\n',
            "targets: the reader imagefolder has no 'mask' with these arguments; it has labels",
        ),
        (DATASET + "reader_arguments = { size = 3 }\n", "reader_arguments.size: the reader imagefolder takes path"),
        (DATASET + "reader_arguments = { path = 3 }\n", "reader_arguments.path: takes str, not 3"),
        ('title = "T"\n', "a dataset has the key reader, a task the key protocol, a suite the key tasks"),
        ('title = "T"\nprotocol = "linear"\ndataset = "dtdd"\n', "no dataset is named 'dtdd'; did you mean 'dtd'"),
        ('title = "T"\nprotocol = "linear"\ndataset = "isic"\n', "isic is not measured by linear"),
        ('title = "T"\nprotocol = "linear"\ndataset = "dtd"\npreset = "p"\n', "no preset of linear is named 'p'"),
        ('title = "T"\nprotocol = "knn"\ndataset = "dtd"\n[parameters]\nk = 3\n', "knn has no parameter 'k'"),
        ('title = "T"\ntasks = ["linear/dtdd"]\n', "no task is named 'linear/dtdd'; did you mean 'linear/dtd'"),
        ('title = "T"\ntasks = ["knn/dtd"]\n[parameters.linear]\nmax_iter = "x"\n', "linear.max_iter cannot be 'x'"),
        ("title = [", "is not a card"),
    ],
)
def test_a_broken_card_is_reported_with_its_file_and_the_others_load(text: str, message: str, tmp_path: Path) -> None:
    catalog = TaskCatalog.load([write(tmp_path, broken=text, good=DATASET)])
    assert str(tmp_path / "broken.toml") in problems(catalog)
    assert message in problems(catalog)
    assert len(catalog.problems) == 1
    assert "good" in catalog.datasets
    assert "broken" not in {*catalog.datasets, *catalog.task_cards, *catalog.suites}
    assert len(catalog.datasets) == len(BUILT_IN.datasets) + 1


def test_a_folder_of_cards_that_does_not_exist_holds_none(tmp_path: Path) -> None:
    assert TaskCatalog.load([tmp_path / "gone"]).task_names == BUILT_IN.task_names


def test_the_suite_of_the_whole_paper_holds_all_its_suites() -> None:
    whole = {spec.name for spec in BUILT_IN.select(suite="paper")}
    parts = [name for name in BUILT_IN.suites if name.startswith("paper-")] + ["kornblith-few-shot", "cd-fsl"]
    assert whole == {spec.name for name in parts for spec in BUILT_IN.select(suite=name)}


def test_a_suite_may_name_another_preset_for_a_family_unless_the_user_does() -> None:
    finetune = next(spec for spec in BUILT_IN.select(suite="demo") if spec.protocol == "finetune")
    assert finetune.preset == "small"
    asked = next(spec for spec in BUILT_IN.select(suite="demo", preset="paper") if spec.protocol == "finetune")
    assert asked.preset == "paper"


def test_a_suite_with_a_preset_for_an_unknown_family_is_left_out_and_reported(tmp_path: Path) -> None:
    card = 'title = "Odd"\ntasks = ["knn/digits"]\n[presets]\nfinetunning = "small"\n'
    (tmp_path / "odd.toml").write_text(card)
    catalog = TaskCatalog.load([tmp_path])
    assert "odd" not in catalog.suites
    assert any("finetunning" in str(problem) for problem in catalog.problems)
