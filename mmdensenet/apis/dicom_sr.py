"""Predictions as DICOM: a Comprehensive SR for each study (PS3.3 A.35.3), with measurements by TID 1500."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmdensenet.checkpoints.checkpoint_file import sha256
from mmdensenet.checkpoints.checkpoint_meta import hash_weights
from mmdensenet.errors import UserError
from mmdensenet.results.decisions import UNCALIBRATED
from mmdensenet.version import __version__

from .inference import Inferencer
from .study_facts import RESEARCH_ONLY

#: the coding scheme of what no public one has: the classes of a model
SCHEME = '99MMDENSENET'
#: characters of a code's meaning and of a name (VR LO)
LONGEST = 64
SERIES_NUMBER = 9001


@dataclass(frozen=True)
class ModelIdentity:
    """A model's name, version, and a SHA-256 with what it is of."""

    name: str
    version: str
    sha256: str
    of: str


def identify(inferencer: Inferencer, model: str | Path, checkpoint: str | None = None) -> ModelIdentity:
    """Of an exported file its own hash and what it says of itself; else the hash of the checkpoint's file, or of the
    weights where that is not here."""
    if hasattr(inferencer, 'metadata'):
        return ModelIdentity(inferencer.metadata.model, inferencer.metadata.version, sha256(Path(model)), 'the file')
    name = Path(str(model)).stem
    if checkpoint and Path(checkpoint).expanduser().is_file():
        return ModelIdentity(name, __version__, sha256(Path(checkpoint).expanduser()), 'the checkpoint')
    return ModelIdentity(name, __version__, hash_weights(inferencer.model.state_dict()), 'the weights')


def require_highdicom() -> None:
    """Before images are predicted, not after.

    Raises:
        UserError: if it is not installed.
    """
    try:
        import highdicom.sr  # noqa: F401
    except ImportError as error:
        raise UserError('structured reports need highdicom. Run: pip install highdicom') from error


def write_dicom_sr(
    folder: str | Path, results: Sequence[dict], inferencer: Inferencer, identity: ModelIdentity
) -> list[Path]:
    """Write ``SR_STUDYUID.dcm`` for each study of the images.

    Each image has a group with the probability of each class or label, what is decided, and the reference to the image;
    patient and study are those of the images. The report is marked as complete, not verified.

    Args:
        results: of ``inferencer`` for DICOM files.

    Raises:
        UserError: if highdicom is missing, an image is not DICOM or lacks the identifiers of a study, one is there
            twice, or a score is not finite.
    """
    require_highdicom()
    studies: dict[str, list[tuple[dict, object]]] = {}
    seen: dict[str, str] = {}
    for result in results:
        image = _read(result.get('img_path'))
        if not np.isfinite(result['pred_scores']).all():
            raise UserError(f'the scores of {result["img_path"]} are not finite numbers: the weights are damaged.')
        first = seen.setdefault(str(image.SOPInstanceUID), result['img_path'])
        if first != result['img_path']:
            raise UserError(f'{result["img_path"]} is the same instance as {first}: give each once.')
        studies.setdefault(str(image.StudyInstanceUID), []).append((result, image))
    if len(seen) != len(results):
        raise UserError('an image is given twice: give each once.')
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for uid, images in studies.items():
        report = _report(images, inferencer, identity)
        written.append(folder / f'SR_{uid}.dcm')
        report.save_as(written[-1], enforce_file_format=True)
    return written


def _read(path: str | None):
    import pydicom

    try:
        image = pydicom.dcmread(path, stop_before_pixels=True)
    except Exception as error:  # pydicom raises many kinds
        raise UserError(f'{path or "an image"} is not a DICOM file here, and a report is on DICOM images.') from error
    missing = [
        name
        for name in ('StudyInstanceUID', 'SeriesInstanceUID', 'SOPInstanceUID', 'SOPClassUID')
        if not image.get(name)
    ]
    if missing:
        raise UserError(f'{path} has no {", ".join(missing)}: a report has to refer to it.')
    for name in ('PatientID', 'PatientName', 'PatientBirthDate', 'PatientSex', 'AccessionNumber', 'StudyID'):
        if name not in image:  # type 2: may be empty, has to be there
            setattr(image, name, '')
    for name in ('StudyDate', 'StudyTime', 'ReferringPhysicianName'):
        if name not in image:
            setattr(image, name, None)
    if not image.get('Modality'):
        image.Modality = 'OT'  # other
    return image


def _report(images: Sequence[tuple[dict, object]], inferencer: Inferencer, identity: ModelIdentity):
    import highdicom
    from highdicom import sr
    from pydicom.sr.codedict import codes

    device = sr.DeviceObserverIdentifyingAttributes(
        uid=highdicom.UID(),
        name=_short(identity.name),
        manufacturer_name='mmdensenet',
        model_name=_short(identity.name),
        serial_number=identity.sha256,
    )
    context = sr.ObservationContext(
        observer_device_context=sr.ObserverContext(codes.DCM.Device, observer_identifying_attributes=device)
    )
    decisions = inferencer.decisions
    algorithm = sr.AlgorithmIdentification(
        name=_short(identity.name),
        version=f'mmdensenet {identity.version}',
        parameters=[
            f'SHA-256 of {identity.of}: {identity.sha256}',
            *([UNCALIBRATED] if decisions is None else decisions.lines()),
            RESEARCH_ONLY,
        ],
    )
    content = sr.MeasurementReport(
        observation_context=context,
        procedure_reported=sr.CodedConcept('363679005', 'SCT', 'Imaging'),
        imaging_measurements=[_group(result, image, inferencer, algorithm) for result, image in images],
        title=codes.DCM.ImagingMeasurementReport,
    )
    return sr.ComprehensiveSR(
        evidence=[image for _, image in images],
        content=content,
        series_instance_uid=highdicom.UID(),
        series_number=SERIES_NUMBER,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer='mmdensenet',
        is_complete=True,
        is_verified=False,
        series_description=_short(f'Predictions of {identity.name}, research use only'),
    )


def _group(result: dict, image, inferencer: Inferencer, algorithm):
    """Return the measurements of one image."""
    import highdicom
    from highdicom import sr
    from pydicom.sr.codedict import codes

    names = inferencer.classes or [str(i) for i in range(len(result['pred_scores']))]
    concepts = [sr.CodedConcept(f'CLASS{i}', SCHEME, _short(name)) for i, name in enumerate(names)]
    measurements = [
        sr.Measurement(concept, round(float(score), 6), codes.UCUM.NoUnits, algorithm_id=algorithm)
        for concept, score in zip(concepts, result['pred_scores'])
    ]
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=highdicom.UID(), identifier=str(image.SOPInstanceUID)),
        source_images=[sr.SourceImageForMeasurementGroup.from_source_image(image)],
        algorithm_id=algorithm,
        measurements=measurements,
        qualitative_evaluations=_decided(result, concepts, inferencer),
    )


def _decided(result: dict, concepts: Sequence, inferencer: Inferencer) -> list:
    """The predicted class, or which labels are present; of several labels what was decided on validation images."""
    from highdicom import sr
    from pydicom.sr.codedict import codes

    decisions, found = inferencer.decisions, []
    if not inferencer.multi_label:
        name = sr.CodedConcept('PREDICTED', SCHEME, 'Predicted class')
        found.append(sr.QualitativeEvaluation(name, concepts[result['pred_label']]))
    elif decisions is not None:
        present, absent = sr.CodedConcept('52101004', 'SCT', 'Present'), sr.CodedConcept('2667000', 'SCT', 'Absent')
        for i, concept in enumerate(concepts):
            if decisions.classes[i] not in decisions.undecided:
                found.append(sr.QualitativeEvaluation(concept, present if i in result['pred_label'] else absent))
    if 'ood' in result:
        name = sr.CodedConcept('UNLIKE', SCHEME, 'Unlike the images of the validation')
        found.append(sr.QualitativeEvaluation(name, codes.SCT.Yes if result['ood'] else codes.SCT.No))
    return found


def _short(text: str) -> str:
    """As the VR LO has it: no backslash, no control characters, 64 characters at most."""
    return ''.join('/' if c == '\\' else c if c.isprintable() else ' ' for c in str(text))[:LONGEST]
