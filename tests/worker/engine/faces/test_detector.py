from __future__ import annotations

import io
import threading
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from shared.errors import WeightsInvalid
from worker.engine.faces.detector import FaceDetector, anchors, decoded, suppress
from worker.engine.faces.retinaface import build_network, make_network
from worker.engine.load import load_detector
from worker.weights.catalogue import CATALOGUE, DETECTOR
from worker.weights.safe_loading import load_state

CPU = torch.device("cpu")
THRESHOLD = 0.9


def pixels_of(source: Path | io.BytesIO) -> NDArray[np.uint8]:
    with Image.open(source) as image:
        return np.asarray(image.convert("RGB"))


def test_the_astronauts_face_is_found(detector: FaceDetector, astronaut: Path) -> None:
    (face,) = detector.detect(pixels_of(astronaut), THRESHOLD)
    left_eye, right_eye, nose, *mouth = face.landmarks
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_eye[1] < nose[1] < mouth[0][1]
    np.testing.assert_allclose(face.box, (178, 57, 273, 177), atol=8)


def test_grace_hoppers_face_is_found(detector: FaceDetector, grace_hopper: Path) -> None:
    assert len(detector.detect(pixels_of(grace_hopper), THRESHOLD)) == 1


def test_all_29_faces_of_a_group_are_found(detector: FaceDetector, faces_dir: Path) -> None:
    faces = detector.detect(pixels_of(faces_dir / "solvay-1927.png"), THRESHOLD)
    assert len(faces) == 29
    assert [face.box[0] for face in faces] == sorted(face.box[0] for face in faces)


def test_every_one_of_24_portraits_has_one_face(detector: FaceDetector, faces_dir: Path) -> None:
    with zipfile.ZipFile(faces_dir / "portraits-val.zip") as archive:
        photos = [name for name in archive.namelist() if not name.endswith("/")]
        counts = [
            len(detector.detect(pixels_of(io.BytesIO(archive.read(name))), THRESHOLD))
            for name in photos
        ]
    assert counts == [1] * 24


@pytest.mark.parametrize("side_px", [16, 200, 3000])
def test_a_blank_photo_has_no_face(detector: FaceDetector, side_px: int) -> None:
    assert detector.detect(np.full((side_px, side_px // 2 + 8, 3), 90, np.uint8), THRESHOLD) == ()


@pytest.mark.parametrize("times", [4, 10, 16])
def test_a_face_that_fills_a_large_photo_has_the_same_landmarks(
    detector: FaceDetector, astronaut_pixels: NDArray[np.uint8], times: int
) -> None:
    close = astronaut_pixels[0:260, 100:360]
    large = cv2.resize(close, None, fx=times, fy=times, interpolation=cv2.INTER_CUBIC)
    (small_face,) = detector.detect(close, THRESHOLD)
    (large_face,) = detector.detect(np.asarray(large, np.uint8), THRESHOLD)
    np.testing.assert_allclose(large_face.landmarks / times, small_face.landmarks, atol=4.5)


def test_boxes_are_clipped_at_the_border_of_the_photo(
    detector: FaceDetector, astronaut_pixels: NDArray[np.uint8]
) -> None:
    cut = astronaut_pixels[:140, 190:280]
    for face in detector.detect(cut, 0.3):
        assert min(face.box) >= 0
        assert face.box[2] <= 90
        assert face.box[3] <= 140


def test_a_higher_threshold_finds_fewer(
    detector: FaceDetector, astronaut_pixels: NDArray[np.uint8]
) -> None:
    assert len(detector.detect(astronaut_pixels, 0.05)) >= 1
    assert detector.detect(astronaut_pixels, 1.0) == ()


def test_threads_share_the_detector_and_get_their_own_faces(
    detector: FaceDetector, astronaut_pixels: NDArray[np.uint8]
) -> None:
    shifts = list(range(0, 48, 6))
    found: dict[int, float] = {}

    def look(shift: int) -> None:
        (face,) = detector.detect(astronaut_pixels[:, shift:], THRESHOLD)
        found[shift] = face.box[0] + shift

    threads = [threading.Thread(target=look, args=(shift,)) for shift in shifts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_allclose([found[shift] for shift in shifts], 178, atol=6)


@pytest.mark.parametrize("shape", [(64, 64), (123, 457), (33, 17)])
def test_anchors_are_those_of_facexlib(detector: FaceDetector, shape: tuple[int, int]) -> None:
    from facexlib.detection.retinaface_utils import PriorBox

    config = make_network(DETECTOR, CPU).cfg
    theirs = PriorBox(config, shape).forward()
    torch.testing.assert_close(torch.from_numpy(anchors(*shape)), theirs)


def test_boxes_and_landmarks_are_decoded_as_by_facexlib() -> None:
    make_network(DETECTOR, CPU)
    from facexlib.detection.retinaface_utils import decode, decode_landm

    source = np.random.default_rng(3)
    priors = anchors(64, 96)
    offsets = source.normal(0, 2, (len(priors), 4)).astype(np.float32)
    points = source.normal(0, 2, (len(priors), 10)).astype(np.float32)
    boxes, landmarks = decoded(offsets, points, priors)
    theirs = (torch.from_numpy(offsets), torch.from_numpy(priors), [0.1, 0.2])
    np.testing.assert_allclose(boxes, decode(*theirs).numpy(), atol=1e-5)
    theirs = (torch.from_numpy(points), torch.from_numpy(priors), [0.1, 0.2])
    np.testing.assert_allclose(landmarks, decode_landm(*theirs).numpy(), atol=1e-5)


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_an_exported_network_finds_the_same_faces_as_torch(
    detector: FaceDetector, faces_dir: Path, tmp_path: Path, backend: str
) -> None:
    group = pixels_of(faces_dir / "solvay-1927.png")
    exported = load_detector(tmp_path, CPU, backend)
    ours, theirs = (each.detect(group, THRESHOLD, 0.05) for each in (exported, detector))
    assert len(ours) == len(theirs) >= 29
    size = group.shape[1::-1]
    for one, other in zip(ours, theirs, strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-4)
        np.testing.assert_allclose(one.landmarks / size, other.landmarks / size, atol=1e-4)
        np.testing.assert_allclose(one.box, other.box, atol=1e-4 * max(size))


def test_a_network_is_exported_once(tmp_path: Path) -> None:
    load_detector(tmp_path, CPU, "openvino")
    (file,) = (tmp_path / "exported").glob("*.onnx")
    written = file.stat().st_mtime_ns
    load_detector(tmp_path, CPU, "onnxruntime")
    assert file.stat().st_mtime_ns == written


def test_the_result_is_that_of_facexlibs_own_detector(
    detector: FaceDetector, astronaut_pixels: NDArray[np.uint8]
) -> None:
    entry = CATALOGUE[DETECTOR]
    network = make_network(DETECTOR, CPU)
    network.load_state_dict(load_state(entry.path(Path())))
    with torch.no_grad():
        (theirs,) = network.detect_faces(astronaut_pixels[:, :, ::-1].copy(), THRESHOLD)
    (ours,) = detector.detect(astronaut_pixels, THRESHOLD)
    np.testing.assert_allclose(ours.box, theirs[:4], atol=0.01)
    np.testing.assert_allclose(ours.landmarks.ravel(), theirs[5:], atol=0.01)


def test_the_large_detector_loads_checkpoints_of_data_parallel(tmp_path: Path) -> None:
    state = make_network("retinaface-resnet50", CPU).state_dict()
    state = {f"module.{key}": tensor for key, tensor in state.items()}
    torch.save(state, tmp_path / "large.pth")
    network = build_network("retinaface-resnet50", load_state(tmp_path / "large.pth"), CPU)
    detector = FaceDetector(network, network.name)
    assert detector.detect(np.zeros((64, 64, 3), np.uint8), 1.0) == ()


def test_weights_of_another_network_are_refused() -> None:
    state = load_state(CATALOGUE[DETECTOR].path(Path()))
    state.pop("ssh1.conv3X3.0.weight")
    with pytest.raises(WeightsInvalid, match="retinaface-mobilenet"):
        build_network("retinaface-mobilenet0.25", state, CPU)


def test_suppression_keeps_the_best_of_overlapping_boxes() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30], [0, 0, 10, 4]], np.float32)
    scores = np.array([0.8, 0.9, 0.5, 0.3], np.float32)
    assert suppress(boxes, scores, 0.4).tolist() == [1, 2, 3]
    assert suppress(boxes, scores, 0.1).tolist() == [1, 2]
    assert suppress(boxes[:0], scores[:0], 0.4).tolist() == []


def test_boxes_that_overlap_by_just_the_threshold_both_stay() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 5, 10, 15]], np.float32)  # a third of their union
    scores = np.array([0.9, 0.8], np.float32)
    assert suppress(boxes, scores, 1 / 3 + 1e-6).tolist() == [0, 1]
    assert suppress(boxes, scores, 0.3).tolist() == [0]
