"""From a scene and a camera to an image, the object of every pixel and its depth.

Solids are drawn by OpenCV's triangle rasteriser into a buffer of face numbers and texture
coordinates; light is worked out per face and looked up per pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from data.camera import Camera
from data.synthetic import post
from data.synthetic.backdrop import Panorama, draw_backdrop, sky_maps
from data.synthetic.ground import GroundPainter, GroundStyle, headlamp
from data.synthetic.looks import Look
from data.synthetic.mesh import Mesh, merge
from data.synthetic.paint import PolygonSet

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]

NEAR_M = 0.25
FAR_M = 420.0
SOLID_FAR_M = 170.0
Pose = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class View:
    """All that is drawn, in the world frame.

    Attributes:
        static: what never moves, in blocks; moving: the rest, at this moment.
        footprints: (n, 4, 2) corners on the ground of things that throw a shadow, with their
            heights (n,) m.
        polygons: the ground; panorama, style, atlas: textures; look: light and weather.
    """

    static: tuple[Mesh, ...]
    moving: Mesh
    footprints: F64
    heights_m: F64
    polygons: PolygonSet
    panorama: Panorama
    style: GroundStyle
    atlas: U8
    look: Look


@dataclass(frozen=True, eq=False)
class Rendered:
    """image (h, w, 3) uint8 BGR; object_id (h, w) int32, 0 for none; free (h, w) bool, true where
    the ground or the sky is seen; depth_m (h, w) float32 along the optical axis, inf for sky;
    polygons: the ground's polygons by layer in 1/16 px; area_px: convex outline of each object id
    within the image as if nothing stood before it, where asked for."""

    image: U8
    object_id: NDArray[np.int32]
    free: NDArray[np.bool_]
    depth_m: F32
    polygons: dict[str, list[NDArray[np.int32]]]
    area_px: dict[int, float]


class Renderer:
    """Renders views through one camera without lens distortion, principal point in the middle."""

    def __init__(self, camera: Camera, bonnet: float = 0.0) -> None:
        self.camera = camera
        self.ground = GroundPainter(camera)
        rows = min(self.ground.top + 3, camera.height_px)
        self.sky = sky_maps(camera, rows)
        self.noise: post.SensorNoise | None = None
        self.bonnet = post.Bonnet(camera.width_px, camera.height_px, bonnet) if bonnet else None
        fx, fy = float(camera.matrix[0, 0]), float(camera.matrix[1, 1])
        self.aspect = fx / fy
        self.fov_y_rad = 2 * float(np.arctan(camera.height_px / 2 / fy))
        self.settings = cv2.TriangleRasterizeSettings()
        self.settings.setShadingType(cv2.RASTERIZE_SHADING_SHADED)
        self.settings.setCullingMode(cv2.RASTERIZE_CULLING_NONE)

    def render(self, view: View, pose: Pose, seed: int = 0, areas: bool = True) -> Rendered:
        """Draw ``view`` from the vehicle at ``pose`` (x, y, yaw); ``seed`` is the sensor noise's;
        without ``areas`` the outlines' areas, needed for labels only, are left out."""
        cam, look = self.camera, view.look
        image = np.empty((cam.height_px, cam.width_px, 3), np.uint8)
        draw_backdrop(image, view.panorama, self.sky, pose[2])
        polygons = view.polygons.projected(cam, pose)
        road = self.ground.draw(image, polygons, view.style, look, pose, self._shadows(view, pose))
        faces = _seen([*view.static, view.moving], cam, pose, look)
        face, u, v, depth = self._rasterise(faces)
        solid = face > 0
        self._shade(image, face, (u, v), solid, faces, view)
        below = slice(self.ground.top, None)
        np.copyto(depth[below], self.ground.depth_m, where=~solid[below])
        sky = depth >= FAR_M
        depth[sky] = 0.0
        post.haze(image, depth, look)
        depth[sky] = np.inf
        if look.lamps > 0:
            post.bloom(image, self._lamps(faces, face), look)
        if look.wet > 0:
            post.wet_road(image, road, solid, self.ground.top, look)
        ids = np.concatenate([[0], faces.mesh.object_id]).astype(np.int32).take(face)
        free = ~solid
        if self.bonnet:
            self.bonnet.draw(image, look)
            ids[self.bonnet.mask], free[self.bonnet.mask] = 0, False
        if self.noise is None or self.noise.deviation != look.noise:
            self.noise = post.SensorNoise(cam.width_px, cam.height_px, look.noise)
        image = post.develop(image, look, self.noise, np.random.default_rng(seed))
        area = self._silhouettes(faces) if areas else {}
        return Rendered(image, ids, free, depth, polygons, area)

    def _rasterise(self, faces: _Faces) -> tuple[NDArray[np.int32], F32, F32, F32]:
        """Face number + 1, texture coordinates u and v, and depth, (h, w) each."""
        h, w = self.camera.height_px, self.camera.width_px
        buffer = np.zeros((h, w, 3), np.float32)
        depth = np.full((h, w), FAR_M, np.float32)
        number = np.arange(1, len(faces.mesh) + 1, dtype=np.float32)
        data = np.empty((len(number), 3, 6), np.float32)
        data[..., :3], data[..., 4:] = faces.corners_cam, faces.mesh.uv_px
        data[..., 3] = number[:, None]
        data = _cut_near(data)
        if len(data):
            points = data[..., :3].reshape(-1, 3) * np.array([self.aspect, -1, -1], np.float32)
            index = np.arange(len(points), dtype=np.int32).reshape(-1, 3)
            colours = np.ascontiguousarray(data[..., 3:].reshape(-1, 3))
            cv2.triangleRasterize(
                np.ascontiguousarray(points), index, colours, buffer, depth,
                np.eye(4, dtype=np.float32), self.fov_y_rad, NEAR_M * 0.5, FAR_M, self.settings,
            )  # fmt: skip
        face, u, v = cv2.split(buffer)
        return np.rint(face).astype(np.int32), np.asarray(u), np.asarray(v), depth

    def _shade(
        self, image: U8, face: NDArray[np.int32], uv: tuple[F32, F32], solid: NDArray[np.bool_],
        faces: _Faces, view: View,
    ) -> None:  # fmt: skip
        """Colour the solid pixels: light of the face times the atlas."""
        rows = np.flatnonzero(solid.any(1))
        if not len(rows):
            return
        part = slice(int(rows[0]), int(rows[-1]) + 1)
        table = np.zeros((len(faces.mesh) + 1, 4), np.uint8)
        table[1:, :3] = _lit(faces, view.look)
        # one look-up of four bytes is several times faster than one of three
        packed = table.view(np.uint32).ravel().take(face[part])
        colour = cv2.cvtColor(packed.view(np.uint8).reshape(*packed.shape, 4), cv2.COLOR_BGRA2BGR)
        texture = cv2.remap(view.atlas, uv[0][part], uv[1][part], cv2.INTER_LINEAR)
        cv2.multiply(colour, texture, colour, scale=1 / 128)
        cv2.copyTo(colour, solid[part].view(np.uint8), image[part])

    def _shadows(self, view: View, pose: Pose) -> list[tuple[F64, float]]:
        """Pixel polygons and strengths: along the sun's rays, and close under each thing."""
        rings, heights = view.footprints, view.heights_m
        keep = np.abs(rings.mean(1) - pose[:2]).max(1) < 75 if len(rings) else np.zeros(0, bool)
        rings, heights = rings[keep], heights[keep]
        sun = view.look.sun_direction
        strong = min(float(np.mean(view.look.sun)) * 0.75, 0.5)
        reach = -sun[:2] / max(sun[2], 0.25) * heights[:, None]
        out: list[tuple[F64, float]] = []
        if strong > 0.08:
            swept = np.concatenate([rings, rings + reach[:, None]], 1)
            out += [(cv2.convexHull(p)[:, 0], strong) for p in self._to_pixels(swept, pose)]
        under = self._to_pixels(rings[heights < 4.5], pose)
        return out + [(p, 0.72) for p in under]

    def _to_pixels(self, rings_m: F64, pose: Pose) -> NDArray[np.float32]:
        """Ground rings (n, k, 2) in the world to pixels; those behind the camera are dropped and
        those beside it cut off a little ahead."""
        c, s = np.cos(pose[2]), np.sin(pose[2])
        xy = (rings_m - pose[:2]) @ np.array([[c, -s], [s, c]])
        xy = xy[xy[..., 0].max(1) > 2.5] if len(xy) else xy
        xy[..., 0] = np.maximum(xy[..., 0], self.camera.vehicle_from_camera[0, 3] + 0.8)
        flat = np.concatenate([xy.reshape(-1, 2), np.zeros((xy.size // 2, 1))], 1)
        uv = self.camera.pixels_from_vehicle(flat).reshape(xy.shape)
        return uv[np.isfinite(uv).all((1, 2))].astype(np.float32)

    def _lamps(self, faces: _Faces, face: NDArray[np.int32]) -> list[post.Lamp]:
        """Shining faces that are seen, with their size in the image."""
        out = []
        h, w = face.shape
        for i in np.flatnonzero(faces.mesh.glow >= 0.8):
            at = faces.corners_cam[i].mean(0)
            if at[2] < 1.5 or (faces.normal_cam[i] @ at) * faces.facing[i] > 0:
                continue
            u, v, _ = self.camera.matrix @ (at / at[2])
            x, y = round(float(u)), round(float(v))
            if not (1 <= x < w - 1 and 1 <= y < h - 1):
                continue
            if not (np.abs(face[y - 1 : y + 2, x - 1 : x + 2] - 1 - i) <= 2).any():
                continue
            size = float(self.camera.matrix[0, 0]) * 0.12 / float(at[2])
            bgr = faces.mesh.colour[i].astype(np.float64)
            out.append(post.Lamp(x, y, size, bgr, float(faces.mesh.glow[i])))
        return out

    def _silhouettes(self, faces: _Faces) -> dict[int, float]:
        """Area of the convex outline of every object within the image."""
        ids = faces.mesh.object_id
        out: dict[int, float] = {}
        h, w = self.camera.height_px, self.camera.width_px
        frame = np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float32)
        for i in np.unique(ids[ids > 0]):
            points = faces.corners_cam[ids == i].reshape(-1, 3)
            points = points[points[:, 2] > NEAR_M]
            if len(points) < 3:
                continue
            uvw = points @ self.camera.matrix.T
            uv = np.clip(uvw[:, :2] / uvw[:, 2:], -1e5, 1e5).astype(np.float32)
            hull = cv2.convexHull(uv)
            out[int(i)] = float(cv2.intersectConvexConvex(hull, frame)[0])
        return out


@dataclass(frozen=True, eq=False)
class _Faces:
    """Faces in view: their mesh (world), corners (n, 3, 3) and normals (n, 3) in the camera frame,
    facing (n,) +1 or -1 to turn a normal of an open surface towards the camera."""

    mesh: Mesh
    corners_cam: F32
    normal_cam: F32
    facing: F32


def _seen(meshes: list[Mesh], camera: Camera, pose: Pose, look: Look) -> _Faces:
    """Move to the camera frame; drop faces out of sight, turned away or too small to matter."""
    c, s = np.cos(pose[2]), np.sin(pose[2])
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ camera.vehicle_from_camera[:3, :3]
    place = np.array([[c, -s], [s, c]]) @ camera.vehicle_from_camera[:2, 3] + pose[:2]
    eye = np.array([*place, camera.vehicle_from_camera[2, 3]], np.float32)
    axes: F32 = turn.astype(np.float32)
    mesh = merge([m.select(_in_sight(m, camera, eye, axes, look)) for m in meshes])
    corners = np.asarray((mesh.corners_m - eye) @ axes, np.float32)
    toward = ((mesh.corners_m[:, 0] - eye) * mesh.normal).sum(1) < 0
    facing = np.where(toward, np.float32(1), np.float32(-1))
    return _Faces(mesh, corners, mesh.normal @ axes, facing)


def _in_sight(
    mesh: Mesh, camera: Camera, eye: F32, axes: F32, look: Look
) -> NDArray[np.int64]:  # fmt: skip
    """Indices of the faces whose ball meets the view and that are not turned away."""
    if not len(mesh):
        return np.zeros(0, np.int64)
    low, high = mesh.extent
    if ((low + high) / 2 - eye) @ axes[:, 2] < -np.sqrt(((high - low) ** 2).sum()) / 2:
        return np.zeros(0, np.int64)
    centre, radius = mesh.bounds
    offset = centre - eye
    x, y, z = (offset @ axes).T
    near = np.flatnonzero((z > NEAR_M - radius) & (z < SOLID_FAR_M))
    x, y, z, r = x[near], y[near], z[near], radius[near]
    wide = camera.width_px / 2 / float(camera.matrix[0, 0])
    tall = camera.height_px / 2 / float(camera.matrix[1, 1])
    keep = (np.abs(x) - wide * z) < r * (1 + wide)
    keep &= (np.abs(y) - tall * z) < r * (1 + tall)
    toward = (offset[near] * mesh.normal[near]).sum(1) < 0
    keep &= toward | ~mesh.cull[near]
    # distant twigs, and by day the windows lit from inside, are not worth drawing
    least = np.where(mesh.object_id[near] > 0, np.float32(0.4), np.float32(2.2))
    keep &= r * float(camera.matrix[0, 0]) > least * z
    if look.lamps < 0.3:
        keep &= (mesh.glow[near] == 0) | (mesh.glow[near] >= 0.8)
    return near[keep]


def _cut_near(data: F32) -> F32:
    """Cut triangles (n, 3, k), depth at index 2, at ``NEAR_M``: the rasteriser itself draws those
    that cross the near plane wrongly."""
    inside = data[..., 2] > NEAR_M
    count = inside.sum(1)
    out = [data[count == 3]]
    for keep in (1, 2):
        part, mask = data[count == keep], inside[count == keep]
        if not len(part):
            continue
        odd = np.argmax(mask if keep == 1 else ~mask, 1)  # the corner that is alone on its side
        order = (odd[:, None] + np.arange(3)) % 3
        a, b, c = np.moveaxis(np.take_along_axis(part, order[..., None], 1), 1, 0)
        ab, ac = _at_near(a, b), _at_near(a, c)
        if keep == 1:
            out.append(np.stack([a, ab, ac], 1))
        else:
            out += [np.stack([ab, b, c], 1), np.stack([ab, c, ac], 1)]
    return np.concatenate(out)


def _at_near(a: F32, b: F32) -> F32:
    t = (NEAR_M * 1.001 - a[:, 2]) / (b[:, 2] - a[:, 2])
    return np.asarray(a + (b - a) * t[:, None], np.float32)


def _lit(faces: _Faces, look: Look) -> U8:
    """Colour (n, 3) uint8 of every face under the look's light."""
    mesh = faces.mesh
    normal = mesh.normal * faces.facing[:, None]
    up = normal[:, 2]
    sun = np.maximum(normal @ look.sun_direction.astype(np.float32), 0)
    light = np.outer(0.66 + 0.34 * up, look.ambient) + np.outer(sun, look.sun)
    if look.lamps > 0.8:
        at = faces.corners_cam.mean(1)
        toward = np.abs((faces.normal_cam * at).sum(1)) / np.maximum(np.linalg.norm(at, axis=1), 1)
        beam = headlamp(at[:, 2] + 1.7, -at[:, 0]) * np.clip(1.6 - at[:, 1] * -0.35, 0.2, 1.2)
        light = light + np.outer(0.25 + 0.75 * toward, (0.8, 0.95, 1.0)) * beam[:, None] * 0.75
    colour = mesh.colour * light
    mirror = 0.45 * (0.5 + 0.5 * up) * mesh.gloss
    colour += mirror[:, None] * (np.array(look.sky_low) * 0.5 + np.array(look.sky_top) * 0.5)
    # weak glow (windows, rear lamps at rest) only shows when lamps are lit
    shining = np.clip(mesh.glow * (0.25 + 0.75 * look.lamps), 0, 1)[:, None]
    shining = np.where(mesh.glow[:, None] >= 1.9, 1.0, shining)
    shining = np.where((mesh.glow[:, None] < 1) & (look.lamps < 0.3), 0, shining)
    colour = colour * (1 - shining) + mesh.colour * shining
    return np.asarray(np.clip(colour * 255, 0, 255), np.uint8)
