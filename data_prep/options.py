"""What each data set may be asked for: the one truth for command line and study files."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo
from pydantic_core import PydanticCustomError

from study.errors import StudyError
from study.pythae_json import suggest
from study.schema import Name, Section, validate

# The published aligned and cropped images of CelebA, in pixels.
CELEBA_WIDTH, CELEBA_HEIGHT = 178, 218
# SSIM's window is 11 x 11 pixels: on smaller images a model could be trained, not evaluated.
SMALLEST, LARGEST = 11, 1024
# Of a folder that has no splits of its own: eval, and as many again test.
SHARE = 0.1


def _image_size(value: int) -> int:
    if SMALLEST <= value <= LARGEST:
        return value
    raise PydanticCustomError(
        "image_size",
        "a whole number from {smallest} (the window of SSIM) to {largest} is wanted",
        {"smallest": SMALLEST, "largest": LARGEST},
    )


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


# The next three are checked before the union of types, which would answer with one error for each
# of its members.
def _crop(value: Any) -> Any:
    if value == "none" or (_is_whole(value) and 1 <= value <= CELEBA_WIDTH):
        return value
    raise PydanticCustomError(
        "crop", "'none' or a whole number from 1 to {width} is wanted", {"width": CELEBA_WIDTH}
    )


def _crop_of_any(value: Any, info: ValidationInfo) -> Any:
    size = info.data.get("image_size", 1)
    if value in ("none", "square") or (_is_whole(value) and value >= size):
        return value
    raise PydanticCustomError(
        "crop",
        "'square', 'none' or a whole number from {size} (image_size) is wanted",
        {"size": size},
    )


def _part(value: Any) -> Any:
    count = _is_whole(value) and value >= 0
    if value is None or count or (isinstance(value, float) and 0 < value < 1):
        return value
    raise PydanticCustomError(
        "part", "a whole number of images or a share between 0 and 1 is wanted"
    )


def _half_size(value: bool, info: ValidationInfo) -> bool:
    crop = info.data.get("crop")
    if value and _is_whole(crop) and crop % 2:
        raise PydanticCustomError(
            "half_size", "the crop of {crop} cannot be halved; an even one can", {"crop": crop}
        )
    return value


ImageSize = Annotated[
    int,
    AfterValidator(_image_size),
    Field(
        description="height and width of the prepared images, in pixels: "
        f"{SMALLEST} (the window of SSIM) to {LARGEST}",
        json_schema_extra={"minimum": SMALLEST, "maximum": LARGEST},
    ),
]
Limit = Annotated[int | None, Field(ge=1)]
SkipCorrupt = Annotated[
    bool,
    Field(
        description="leave out files that cannot be used, and list them, in place of stopping at "
        "the first; decodes everything twice"
    ),
]


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


class FashionMnistOptions(Section):
    """Fashion-MNIST: the first 50,000 training images, the last 10,000 as eval, the test set."""


class CelebaOptions(Section):
    """CelebA, aligned and cropped, made square by an optional centre crop and a resize."""

    image_size: ImageSize
    crop: Annotated[
        Literal["none"] | int,
        BeforeValidator(_crop),
        Field(
            description="centre crop of N x N published pixels before the resize; none: the whole "
            "frame of 178 x 218 is squeezed",
            json_schema_extra={"minimum": 1, "maximum": CELEBA_WIDTH},
        ),
    ] = "none"
    half_size: Annotated[
        bool,
        AfterValidator(_half_size),
        Field(description="the files have half the published size, 89 x 109; --crop is halved"),
    ] = False
    subset: Annotated[
        bool, Field(description="take the images that are there, where some are missing")
    ] = False
    limit_train: Annotated[
        Limit, Field(description="only the first N images of the train split")
    ] = None
    limit_eval: Annotated[Limit, Field(description="only the first N images of the eval split")] = (
        None
    )
    skip_corrupt: SkipCorrupt = False


class FolderOptions(Section):
    """A folder of images, with subfolders train/, eval/ and test/ or without, to be split."""

    image_size: ImageSize
    crop: Annotated[
        Literal["square", "none"] | int,
        BeforeValidator(_crop_of_any),
        Field(
            description="before the resize; square: the largest square in the middle; N: N x N "
            "pixels in the middle; none: the whole picture is squeezed"
        ),
    ] = "square"
    channels: Annotated[Literal[1, 3], Field(description="3 for colours (RGB), 1 for grey")] = 3
    eval: Annotated[
        int | float | None,
        BeforeValidator(_part),
        Field(
            description="images of the eval split where the folder has no splits of its own: how "
            f"many, or a share such as 0.2; without it {SHARE}"
        ),
    ] = None
    test: Annotated[
        int | float | None,
        BeforeValidator(_part),
        Field(description="the same for the test split"),
    ] = None
    seed: Annotated[
        int, Field(ge=0, description="seed of the draws that decide split and limits")
    ] = 0
    limit_train: Annotated[
        Limit, Field(description="only N images of the train split, drawn at random")
    ] = None
    limit_eval: Annotated[
        Limit, Field(description="only N images of the eval split, drawn at random")
    ] = None
    limit_test: Annotated[
        Limit, Field(description="only N images of the test split, drawn at random")
    ] = None
    skip_corrupt: SkipCorrupt = False


OPTIONS: dict[str, type[Section]] = {
    "shapes": ShapesOptions,
    "mnist": MnistOptions,
    "fashion_mnist": FashionMnistOptions,
    "celeba": CelebaOptions,
    "folder": FolderOptions,
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
    if isinstance(checked, CelebaOptions | FolderOptions):
        return f"{dataset}{checked.image_size}"
    if isinstance(checked, ShapesOptions) and checked.clean:
        return "shapes-clean"
    return dataset


def check_name(name: str) -> str:
    """`name`, if it may name a data set's folder."""
    return validate(_Target, {"name": name}, f"data set's name '{name}'").name
