"""The rule of verdicts in plain sentences, as every page prints it."""

from evaluate.claims.comparable import LEAST, MOST
from evaluate.claims.over_seeds import LEVEL
from evaluate.claims.ways import VAGUE

RULE = (
    "Our interval is, with several seeds, the 95 % t-interval of the mean over seeds (of a ratio, "
    "of the seeds' ratios); with one seed (n = 1), the 95 % bootstrap interval over images. One "
    "seed of a number that is one of the whole split (FID, coverage, active units) or of the whole "
    "training, or of a ratio, has none. A count of the data's images is exact with one seed.",
    "The source's number stands for all that its rounding leaves open: half a unit of its last "
    "decimal to either side, or a whole one where it says 'about'; a range is meant as it stands. "
    "What a source says in words is judged by a measure, a bound or an order that we chose: the "
    "claim says it after 'taken as'.",
    "**reproduced**: a number of ours whose interval meets the source's and either lies wholly "
    f"within what its rounding leaves open or is no wider than {VAGUE:g} of it; a trend over "
    f"rows, or one row better than others, that a test over seeds shows at p ≤ {LEVEL:g}; a bound "
    "that our whole interval keeps.",
    "**not reproduced**: our interval does not meet it; the test shows the contrary at p ≤ "
    f"{LEVEL:g}; our whole interval is beyond the bound.",
    "**differs in definition**: the source computed a metric otherwise than its name says, and of "
    "the claim as defined here and as published there one is reproduced and the other is not: both "
    "are shown. Where both are, it is reproduced, where neither is, not; where either cannot be "
    "told, it cannot be told.",
    "**cannot tell**, of the runs: our run is too far from the source's, where the source says "
    "what its was, or its code does: training examples seen (training images x epochs) less than "
    f"{LEAST:g} or more than {MOST:g} times the source's; another image size; another split; other "
    "networks, latent size, dropout, batch size or learning rate; other weights of the loss, "
    "another reduction of it, another noise on the latent or other kernels. Then a number is not "
    "judged at all, and a trend, an order or a bound may be reproduced, which the reason says, but "
    "is never 'not reproduced'. A number of the training itself knows no split, and a count of the "
    "data's images no training.",
    "Where a source does not say its images or its epochs, any cut of ours is too far, too: a "
    "named budget of the study, or `--set` of the data, the networks, the model, the training or "
    "what the engine changes of it. But where it says neither, nor anything else of that model but "
    "what its loss weighs and how it is reduced, our budget is one of those that it leaves open, "
    "and no cut: then a claim may be not reproduced.",
    "**cannot tell**, of the measure: another setting of the metric than the source's (LPIPS' "
    "backbone, the distance of coverage); seeds or rows of one claim that were not measured alike; "
    "a number or a bound without an interval; an interval that meets the source's number but is "
    f"wider than {VAGUE:g} of it (of the middle of a range) and reaches beyond its rounding, or "
    "lies on both sides of a bound; a ratio over 0; a trend or an order with fewer than two seeds "
    "a row, or whose test decides neither way.",
    "Where a source does not say how its samples were drawn, a claim is judged with each likely "
    "sampler. It is reproduced (or differs in definition) if it is so with either, which the "
    "reason names; else it cannot be told (but that a row is better than several is not "
    "reproduced where it already fails against those whose sampler is known).",
    "**drawn**: a figure of the source, and ours of the same stands among the study's figures, of "
    "rows that were measured; whether the two look alike is for people to judge, and the reason "
    "says where our runs are too far from the source's.",
    "**open**: a run (any seed of one), weights, a measure or a figure are missing, said "
    "with the command that closes it where there is one. With 'cannot tell' stands the command of "
    "the runs that are nearest to the source's, where nearer runs or more seeds would settle it.",
    "The tests over seeds are the exact permutation test of two means and, for a trend, "
    "Jonckheere and Terpstra's. A row that is to be better than several has to be so in each "
    "single test; that it is not is tested over all of them after Simes.",
)
