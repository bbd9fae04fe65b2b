"""STARD 2015: number, what is asked for, and the facts that answer it; 'author' among them: in part."""

STARD = [
    ('Title and abstract', [
        ('1', 'The title or abstract says that it is a study of diagnostic accuracy, by a measure of it', ''),
        ('2', 'A structured summary of design, methods, results and conclusions', ''),
    ]),
    ('Introduction', [
        ('3', 'Background, with intended use and clinical role of the index test', ''),
        ('4', 'Objectives and hypotheses', ''),
    ]),
    ('Methods', [
        ('5', 'Whether data were collected before or after index test and reference standard', ''),
        ('6', 'Who was eligible', ''),
        ('7', 'How those who might be eligible were found', ''),
        ('8', 'Where and when they were found', ''),
        ('9', 'Whether they are a consecutive, random or convenience series', ''),
        ('10a', 'The index test, so that it can be repeated', 'model preprocessing software'),
        ('10b', 'The reference standard, so that it can be repeated', 'outcome author'),
        ('11', 'Why this reference standard', ''),
        ('12a', 'Cut-offs of the index test, and whether they were chosen beforehand', 'cutoffs'),
        ('12b', 'Cut-offs of the reference standard, and whether they were chosen beforehand', ''),
        ('13a', 'Whether those who do the index test know the clinical data and the reference standard', 'blinding'),
        ('13b', 'Whether those who assess the reference standard know the clinical data and the index test', ''),
        ('14', 'How diagnostic accuracy is estimated or compared', 'metrics uncertainty'),
        ('15', 'How results without a decision were handled', 'undecided author'),
        ('16', 'How missing data were handled', 'missing author'),
        ('17', 'Analyses of variability, and whether they were planned', 'fairness author'),
        ('18', 'Intended size of the sample, and how it was found', 'sample_size author'),
    ]),
    ('Results', [
        ('19', 'Flow of participants, as a diagram', 'participants author'),
        ('20', 'Demographic and clinical characteristics', 'characteristics author'),
        ('21a', 'Severity of disease among those who have it', ''),
        ('21b', 'Other diagnoses among those who do not have it', ''),
        ('22', 'Time and interventions between index test and reference standard', ''),
        ('23', 'Cross tabulation of the index test with the reference standard', 'crosstab'),
        ('24', 'Estimates of accuracy and their precision', 'performance precision'),
        ('25', 'Adverse events of the tests', ''),
    ]),
    ('Discussion', [
        ('26', 'Limitations: bias, uncertainty, generalisation', 'limitations author'),
        ('27', 'What it means for practice, with intended use and clinical role', 'use author'),
    ]),
    ('Other information', [
        ('28', 'Registration', ''),
        ('29', 'Where the protocol is', 'protocol author'),
        ('30', 'Funding and the role of funders', ''),
    ]),
]  # fmt: skip
