"""Step 1, look: read every image once, and find the faults of the data."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from mmdensenet.datasets.file_index import WORK_DIR_HAS
from mmdensenet.datasets.near_duplicates import POSSIBLE, connected, near_pairs, same_from
from mmdensenet.errors import UserError

from .confirm_pairs import Limit, confirm_pairs
from .network import Network, choose_network
from .pictures import Picture, read_grey, read_pictures, stat_of, thumbnails_of
from .samples import Samples, listed
from .work_folder import WorkFolder, fingerprint

#: images in a block of duplicates that are named
SHOWN = 3
#: images in pairs that may be one, whose features are computed; of more the thumbnails decide
MOST_FEATURES = 2000


@dataclass
class Look:
    """The samples whose images can be read, and what was found.

    Attributes:
        samples: without those whose image cannot be read.
        pictures: of the samples, in their order.
        alike: (N,) numbers, the same for exact and near-duplicates.
        result: what was found, plain data: ``images``, ``classes``, ``missing``, ``unreadable``, ``animated``,
            ``exact_duplicates``, ``near_duplicates``, ``confirmed`` (by what these are), ``conflicts``
            (duplicates with other labels), ``sizes`` and ``kinds``.
    """

    samples: Samples
    pictures: list[Picture]
    alike: np.ndarray
    result: dict = field(default_factory=dict)

    def lines(self) -> list[str]:
        """The block that is printed."""
        found = self.result
        lines = list(self.samples.facts)
        lines.append(f'{found["images"]} images: {", ".join(found["kinds"])}; {found["sizes"]}')
        lines.append(f'{"labels" if self.samples.multi_label else "classes"}: {listed(self.samples.counts(), 20)}')
        for key, what in (
            ('missing', 'images of the table are not there and left out'),
            ('unreadable', 'images cannot be read and are left out'),
        ):
            if found[key]:
                named = [f'{each["image"]} ({each.get("reason") or each["where"]})' for each in found[key]]
                lines.append(f'{len(found[key])} {what}: {listed(named, SHOWN)}')
        if found['animated']:
            lines.append(
                f'{len(found["animated"])} images are animated, and only the first frame is read: '
                f'{listed(found["animated"], SHOWN)}'
            )
        for key, what in (
            ('exact_duplicates', 'images are there more than once'),
            ('near_duplicates', 'pairs of images look the same'),
            ('conflicts', 'duplicates have different labels'),
        ):
            if found[key]:
                named = [' = '.join(images[:2]) for images in found[key]]
                lines.append(f'{len(found[key])} {what}: {listed(named, SHOWN)}')
        if found['confirmed']:
            lines.append(found['confirmed'])
        return lines


def look(
    samples: Samples,
    absent: list[dict],
    work: WorkFolder,
    progress: Callable[[int, int], None],
    weights: str | None = 'none',
    network: str | None = None,
) -> Look:
    """Read all images of the samples.

    Args:
        absent: rows of the table without an image.
        weights, network: see :func:`mmdensenet.apis.fit.network.choose_network`; features of the network with these
            weights confirm near-duplicates.

    Raises:
        UserError: if a package is missing, weights cannot be had or are of another network, or nothing is left.
    """
    pictures = read_pictures(samples.root, samples.files, work / WORK_DIR_HAS, progress)
    good = np.array([i for i, picture in enumerate(pictures) if 'reason' not in picture], dtype=int)
    bad = [dict(image=name, reason=p['reason']) for name, p in zip(samples.images, pictures) if 'reason' in p]
    if not len(good):
        raise UserError(f'no image of {samples.root} can be read, the first is {bad[0]["image"]}: {bad[0]["reason"]}.')
    groups = None if samples.groups is None else len(set(samples.groups))
    samples, pictures = samples.take(good), [pictures[i] for i in good]
    if groups is not None and len(set(samples.groups)) < groups:
        samples.facts.append(f'groups with an image that can be read: {len(set(samples.groups))}')
    _group_by_patient(samples, pictures)
    by_digest: dict[str, list[int]] = defaultdict(list)
    for i, picture in enumerate(pictures):
        by_digest[picture['digest']].append(i)
    exact = [places for places in by_digest.values() if len(places) > 1]
    # one of several equal files represents all
    one_each = np.array([places[0] for places in by_digest.values()])
    chosen = choose_network(int(statistics.median([min(p['size']) for p in pictures])), weights, network)
    near, confirmed = _near(samples, pictures, one_each, chosen, work)
    pairs = [(places[0], other) for places in exact for other in places[1:]] + [tuple(pair) for pair in near.tolist()]
    alike = connected(len(samples), np.array(pairs, dtype=int).reshape(-1, 2))
    onehot = samples.onehot
    conflicts = [(i, j) for i, j in pairs if not np.array_equal(onehot[i], onehot[j])]

    def names(groups) -> list[list[str]]:
        return [[samples.images[i] for i in places] for places in groups]

    result = dict(
        images=len(samples),
        classes=samples.classes,
        counts=samples.onehot.sum(0).tolist(),
        multi_label=samples.multi_label,
        missing=absent,
        unreadable=bad,
        animated=[name for name, picture in zip(samples.images, pictures) if picture.get('animated')],
        exact_duplicates=names(exact),
        near_duplicates=names(near.tolist()),
        confirmed=confirmed,
        conflicts=names(conflicts),
        sizes=_sizes(pictures),
        kinds=_kinds(pictures),
    )
    return Look(samples, pictures, alike, result)


def _near(
    samples: Samples, pictures: list[Picture], one_each: np.ndarray, network: Network, work: WorkFolder
) -> tuple[np.ndarray, str]:
    """(M, 2) places of near-duplicates, and by what they are confirmed.

    Args:
        one_each: places of images without exact duplicates of one another.
    """
    hashes = np.array([pictures[i]['hash'] for i in one_each], dtype=np.uint64)
    thumbnails = thumbnails_of([pictures[i] for i in one_each])
    same = same_from(hashes, thumbnails)
    found = one_each[near_pairs(hashes, thumbnails, same)]
    by_thumbnails = f'these are confirmed by thumbnails that correlate from {same:.2f} on' if len(found) else ''
    if not network.pretrained:
        return found, by_thumbnails
    possible = one_each[near_pairs(hashes, thumbnails, POSSIBLE)]
    if not len(possible):
        return found, by_thumbnails
    if len(np.unique(possible)) > MOST_FEATURES:
        return found, f'{by_thumbnails}, for {len(np.unique(possible))} images are too many for features'
    made_of = dict(
        pairs=fingerprint([[pictures[i]['digest'] for i in pair] for pair in possible.tolist()]),
        images=fingerprint([picture['digest'] for picture in pictures]),
        weights=fingerprint(network.load_from, stat_of(str(network.load_from))),
    )
    done = work.done('near_duplicates', made_of)
    if done is None:
        kept, limit = confirm_pairs(possible, one_each, lambda i: read_grey(samples.root, samples.files[i]), network)
        done = work.write('near_duplicates', made_of, dict(limit.to_dict(), kept=np.flatnonzero(kept).tolist()))
    limit = Limit(done['different'], done['copies'])
    if not limit.separates:
        return found, (
            f'{by_thumbnails or "pairs are judged by thumbnails"}: features of {network.name} do not tell copies '
            f'({limit.copies:.2f}) from different images ({limit.different:.2f})'
        )
    return possible[done['kept']], (
        f'{len(done["kept"])} of {len(possible)} pairs with near hashes are one image by features of {network.name}: a '
        f'cosine of at least {limit.cosine:.2f}; 98% of other pairs stay below {limit.different:.2f}'
    )


def _group_by_patient(samples: Samples, pictures: list[Picture]) -> None:
    """DICOM files name their patient."""
    patients = [picture.get('patient', '') for picture in pictures]
    named = set(patients) - {''}
    if samples.groups is None and not samples.alone and len(named) > 1:
        samples.groups = [patient or file for patient, file in zip(patients, samples.files)]
        samples.facts.append(f'groups: {len(named)} patients by PatientID of the DICOM files')
        if '' in patients:
            samples.facts.append(f'{patients.count("")} images have no PatientID and are taken each for itself')


def _sizes(pictures: list[Picture]) -> str:
    sizes = Counter(tuple(picture['size']) for picture in pictures)
    if len(sizes) == 1:
        height, width = next(iter(sizes))
        return f'all {width}x{height}'
    short = [min(p['size']) for p in pictures]
    return f'short side {min(short)} to {max(short)}, half of them at least {round(statistics.median(short))}'


def _kinds(pictures: list[Picture]) -> list[str]:
    kinds = Counter(
        'DICOM' + (f' {p["modality"]}' if p['modality'] else '')
        if p['kind'] == 'dicom'
        else f'{"grey" if p["grey"] else "colour"} of {p["kind"]} bits'
        for p in pictures
    )
    return [f'{count} {kind}' if len(kinds) > 1 else kind for kind, count in kinds.most_common()]
