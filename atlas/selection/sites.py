"""Where a run measured the neurons of a stored prompt."""

# SQL for what `LanguageModel.targets` calls subject_end, where r is a row of runs and p of prompts;
# NULL: at the answer position.
SUBJECT_END = "CASE WHEN r.position = 'subject' THEN p.subject_end END"
