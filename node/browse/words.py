"""What the words on the page mean, in a sentence each: the page's own glossary, for who never read the documents."""

WORDS: tuple[tuple[str, str], ...] = (
    ("val_bpb", "Bits per byte of the validation text, which no run trains on. Lower is better."),
    ("±", "Of a score: where the mean of five fresh runs should lie, 19 times in 20; of a change likewise."),
    ("change", "Against the run it was made from. A minus is an improvement."),
    ("run", "A change that was tried: trained for a fixed time, once or several times, and measured."),
    ("keep", "Better than its parent beyond the noise: the branch goes on from it."),
    ("inconclusive", "Too close to its parent to tell, after as many trials as it was worth."),
    ("discard", "Not better than its parent."),
    ("crash", "It has no number: an error, out of memory, out of time, or a loss that left the numbers."),
    ("censored", "Stopped early, because it was far behind others at the same time; that is no score."),
    ("cancelled", "Stopped by its node, which says nothing about the idea."),
    ("claimed", "Nobody but its author has run it so far."),
    ("confirmed", "Somebody else ran the same thing and got the same, within the noise."),
    ("disputed, refuted", "One other author got another result; two or more did, and nobody the same."),
    ("replay", "Somebody's own run of a finding, to see whether it holds."),
    ("noise", "How much one trial differs from the next of the same thing with another seed: a standard deviation."),
    ("arm", "Who had the idea: a language model (llm), or a search: tpe, cmaes, local, random, crossover, ablate."),
    ("earned a trial", "What an arm's kept runs improved, in standard deviations of a trial, over all trials it took."),
    ("hardware class", "The kind of machine. With the budget of a trial: only numbers of the same two compare."),
    ("branch at", "Where a node's branch stands: the last run it kept."),
    ("sealed text", "A third text that nobody may optimise for: scored now and then, shown, and never used to accept."),
)  # fmt: skip
