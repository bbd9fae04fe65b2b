"""CLAIM 2024: number, what is asked for, and the facts that answer it; 'author' among them: in part."""

CLAIM = [
    ('Title and abstract', [
        ('1', 'The title or abstract says that it is on artificial intelligence, and of which kind', 'technology'),
        ('2', 'A summary of design, methods, results and conclusions', ''),
    ]),
    ('Introduction', [
        ('3', 'Scientific and clinical background, with the intended use and role of the model', ''),
        ('4', 'Aims, objectives and hypotheses', ''),
    ]),
    ('Methods: design', [
        ('5', 'Prospective or retrospective', ''),
        ('6', 'Goal of the study', 'goal author'),
    ]),
    ('Methods: data', [
        ('7', 'Sources of the data', 'source author'),
        ('8', 'Criteria of inclusion and exclusion', ''),
        ('9', 'Preprocessing of the data', 'preprocessing'),
        ('10', 'Selection of parts of the data or of the image, if any', ''),
        ('11', 'How data were de-identified', ''),
        ('12', 'How missing data were handled', 'missing author'),
        ('13', 'How the images were acquired', ''),
    ]),
    ('Methods: reference standard', [
        ('14', 'How the reference standard was obtained', ''),
        ('15', 'Why this reference standard', ''),
        ('16', 'Where the annotations of the reference standard are from', ''),
        ('17', 'How the test set was annotated', ''),
        ('18', 'How much annotators vary, within and among themselves', 'suspicious author'),
    ]),
    ('Methods: partitions', [
        ('19', 'How data were assigned to training, tuning and testing', 'partitions'),
        ('20', 'At which level partitions are disjoint, such as image, patient or site', 'partition_level'),
    ]),
    ('Methods: testing data', [
        ('21', 'Intended size of the sample, and how it was found', 'sample_size author'),
    ]),
    ('Methods: model', [
        ('22', 'The model in detail: inputs, outputs, layers', 'model'),
        ('23', 'Software, with versions', 'software'),
        ('24', 'How the parameters were initialised', 'initialisation'),
    ]),
    ('Methods: training', [
        ('25', 'Training in detail: augmentation, hyperparameters, how many models', 'training'),
        ('26', 'How the final model was chosen', 'selection'),
        ('27', 'Ensembling, if any', 'ensembling'),
    ]),
    ('Methods: evaluation', [
        ('28', 'Metrics of performance', 'metrics'),
        ('29', 'Measures of significance and uncertainty', 'uncertainty'),
        ('30', 'Analysis of robustness or sensitivity', ''),
        ('31', 'Methods that explain or interpret', 'explainability author'),
        ('32', 'Evaluation on internal data', 'internal'),
        ('33', 'Testing on external data; without any, say so', ''),
        ('34', 'Registration of the trial, if it is one', ''),
    ]),
    ('Results: data', [
        ('35', 'How many patients or examinations were included and excluded', 'participants author'),
        ('36', 'Demographic and clinical characteristics of each partition', 'characteristics author'),
    ]),
    ('Results: performance', [
        ('37', 'Metrics of performance, with their uncertainty', 'performance author'),
        ('38', 'Estimates of diagnostic accuracy and their precision', 'precision'),
        ('39', 'Analysis of what was classified wrongly', 'failures author'),
    ]),
    ('Discussion', [
        ('40', 'Limitations', 'limitations author'),
        ('41', 'What it means for practice, with the intended use and role', 'use author'),
    ]),
    ('Other information', [
        ('42', 'Where the full protocol or further technical details are', 'protocol author'),
        ('43', 'Whether software, trained model and data are available', 'availability author'),
        ('44', 'Funding, other support, and the role of funders', ''),
    ]),
]  # fmt: skip
