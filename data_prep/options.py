"""What each data set may be asked for: the one truth for command line and study files."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from study.errors import StudyError
from study.pythae_json import suggest
from study.schema import Name, Section, validate

# The published aligned and cropped images of CelebA, in pixels.
CELEBA_WIDTH, CELEBA_HEIGHT = 178, 218
# SSIM's window is 11 x 11 pixels: on smaller images a model could be trained, not evaluated.
SMALLEST, LARGEST = 11, 1024


def _image_size(value: int) -> int:
    if SMALLEST <= value <= LARGEST:
        return value
    raise PydanticCustomError(
        "image_size",
        "a whole number from {smallest} (the window of SSIM) to {largest} is wanted",
        {"smallest": SMALLEST, "largest": LARGEST},
    )


def _crop(value: Any) -> Any:
    # Checked before the union of types, which would answer with one error for each member.
    whole = isinstance(value, int) and not isinstance(value, bool)
    if value == "none" or (whole and 1 <= value <= CELEBA_WIDTH):
        return value
    raise PydanticCustomError(
        "crop", "'none' or a whole number from 1 to {width} is wanted", {"width": CELEBA_WIDTH}
    )


class ShapesOptions(Section):
    """Circles, squares and triangles, 28 x 28, white on black; generated."""

    clean: Annotated[
        bool,
        Field(
            description="each distinct image that lies wholly on the canvas once, in place of "
            "all 8,002 configurations"
        ),
    ] = False
    seed: Annotated[
        int, Field(ge=0, description="seed of the permutation that decides the split")
    ] = 0


class MnistOptions(Section):
    """MNIST: the first 50,000 training images, the last 10,000 of them as eval, the test set."""


class CelebaOptions(Section):
    """CelebA, aligned and cropped, made square by an optional centre crop and a resize."""

    image_size: Annotated[
        int,
        AfterValidator(_image_size),
        Field(
            description="height and width of the prepared images, in pixels: "
            f"{SMALLEST} (the window of SSIM) to {LARGEST}",
            json_schema_extra={"minimum": SMALLEST, "maximum": LARGEST},
        ),
    ]
    crop: Annotated[
        Literal["none"] | int,
        BeforeValidator(_crop),
        Field(
            description="centre crop of N x N pixels before the resize; none: the whole frame "
            "of 178 x 218 is squeezed",
            json_schema_extra={"minimum": 1, "maximum": CELEBA_WIDTH},
        ),
    ] = "none"
    subset: Annotated[
        bool, Field(description="take the images that are there, where some are missing")
    ] = False
    limit_train: Annotated[
        int | None, Field(ge=1, description="only the first N images of the train split")
    ] = None
    limit_eval: Annotated[
        int | None, Field(ge=1, description="only the first N images of the eval split")
    ] = None


OPTIONS: dict[str, type[Section]] = {
    "shapes": ShapesOptions,
    "mnist": MnistOptions,
    "celeba": CelebaOptions,
}


class _Target(Section):
    name: Name


def check_options(
    dataset: str, options: dict[str, Any] | Section, where: str | None = None
) -> Section:
    """`options` as the data set's model; StudyError, which begins with `where`, if they are bad."""
    if dataset not in OPTIONS:
        hint = suggest(dataset, list(OPTIONS))
        raise StudyError(f"no data set '{dataset}'{hint}; there are {', '.join(OPTIONS)}")
    if isinstance(options, OPTIONS[dataset]):
        return options
    return validate(OPTIONS[dataset], options, where or f"options of {dataset}")


def default_name(dataset: str, options: dict[str, Any] | Section) -> str:
    """The folder's name under `data/`: `shapes`, `shapes-clean`, `mnist`, `celeba64`."""
    checked = check_options(dataset, options)
    if isinstance(checked, CelebaOptions):
        return f"celeba{checked.image_size}"
    if isinstance(checked, ShapesOptions) and checked.clean:
        return "shapes-clean"
    return dataset


def check_name(name: str) -> str:
    """`name`, if it may name a data set's folder."""
    return validate(_Target, {"name": name}, f"data set's name '{name}'").name
