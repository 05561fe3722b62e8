"""How MuJoCo is drawn on a machine without a screen: by EGL, else by OSMesa, else as a schematic that says so."""

import os
import subprocess
import sys
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

TRIAL = """
import mujoco, numpy
from mujoco.{0} import GLContext
context = GLContext(64, 64)
context.make_current()
model = mujoco.MjModel.from_xml_string("<mujoco/>")
drawn = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_150)
pixels = numpy.zeros((64, 64, 3), numpy.uint8)
mujoco.mjr_readPixels(pixels, None, mujoco.MjrRect(0, 0, 64, 64), drawn)
"""
SIDE = 480  # pixels


def way(env: Any) -> str:
    """ "egl", "osmesa" or "schematic" for MuJoCo, and what MUJOCO_GL says where it is set; "own" for all others."""
    if not type(env.unwrapped).__module__.startswith("gymnasium.envs.mujoco."):
        return "own"
    return os.environ.get("MUJOCO_GL") or _opengl()


def follow(env: Any) -> None:
    """Let the camera go along with the body, where the model has such a one: Gymnasium's own stands where
    the body was in the first frame, which a good runner leaves within a second."""
    import mujoco

    renderer = getattr(env.unwrapped, "mujoco_renderer", None)
    camera = mujoco.mj_name2id(env.unwrapped.model, mujoco.mjtObj.mjOBJ_CAMERA, "track")
    if renderer is not None and camera != -1:
        renderer.camera_id = camera


@cache
def _opengl() -> str:
    """The first that works; tried in a process of its own, for PyOpenGL cannot change its mind."""
    for each in ("egl", "osmesa"):
        tried = subprocess.run(
            [sys.executable, "-c", TRIAL.format(each)], env=os.environ | {"MUJOCO_GL": each}, capture_output=True
        )
        if tried.returncode == 0:
            os.environ["MUJOCO_GL"] = each  # where Gymnasium's renderer looks
            return each
    return "schematic"


def schematic(env: Any) -> NDArray[np.uint8]:
    """The bodies' outlines: (480, 480, 3). From above where nothing can rise, else from the side; it goes along."""
    import mujoco
    from PIL import Image, ImageDraw

    model, data = env.unwrapped.model, env.unwrapped.data
    hinge, slide = mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE
    upright_J = np.abs(model.jnt_axis[:, 2]) > 0.9
    flat = bool((((model.jnt_type == hinge) & upright_J) | ((model.jnt_type == slide) & ~upright_J)).all())
    up = 1 if flat else 2
    solid_G = model.geom_type != mujoco.mjtGeom.mjGEOM_PLANE
    rest = mujoco.MjData(
        model
    )  # how far the body reaches before it moves: the size does not change from frame to frame
    mujoco.mj_kinematics(model, rest)
    mujoco.mj_comPos(model, rest)
    reach_G = np.linalg.norm(rest.geom_xpos - rest.subtree_com[0], axis=1) + model.geom_rbound
    span = 2.4 * float(reach_G[solid_G].max())
    centre = data.subtree_com[0]
    low = centre[1] - span / 2 if flat else -0.15 * span
    scale = SIDE / span

    def pixel(point_3: NDArray[np.float64]) -> tuple[float, float]:
        return (float(point_3[0] - centre[0]) + span / 2) * scale, SIDE - float(point_3[up] - low) * scale

    image = Image.new("RGB", (SIDE, SIDE), "white")
    draw = ImageDraw.Draw(image)
    draw.fontmode = "1"  # letters of one colour, which a video keeps readable
    step = 10.0 ** np.ceil(np.log10(60 / scale))  # marks are at least 60 pixels apart
    for mark in np.arange(np.ceil((centre[0] - span / 2) / step), (centre[0] + span / 2) / step):
        x, _ = pixel(np.array([mark * step, 0.0, 0.0]))
        draw.line([(x, 0), (x, SIDE)], fill=(225, 225, 225))
        draw.text((x + 3, SIDE - 14), f"{mark * step + 0.0:g} m", fill=(150, 150, 150))
    if not flat:
        draw.line([(0, pixel(np.zeros(3))[1]), (SIDE, pixel(np.zeros(3))[1])], fill=(90, 90, 90), width=2)
    long = (int(mujoco.mjtGeom.mjGEOM_CAPSULE), int(mujoco.mjtGeom.mjGEOM_CYLINDER))
    for geom in np.flatnonzero(solid_G):
        middle_3, axis_3 = data.geom_xpos[geom], data.geom_xmat[geom].reshape(3, 3)[:, 2]
        half = model.geom_size[geom, 1] if int(model.geom_type[geom]) in long else 0.0
        radius = max(1.5, float(model.geom_size[geom, 0]) * scale)
        shade = tuple(int(200 * each) for each in model.geom_rgba[geom, :3])
        ends = [pixel(middle_3 - half * axis_3), pixel(middle_3 + half * axis_3)]
        draw.line(ends, fill=shade, width=round(2 * radius))
        for x, y in ends:
            draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=shade)
    draw.text((8, 8), "schematic drawing: neither EGL nor OSMesa works here", fill=(180, 0, 0))
    return np.asarray(image)
