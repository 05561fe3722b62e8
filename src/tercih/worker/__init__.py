"""What the labelling server leaves to `tercih worker`, one module a kind of job; each is imported when the first such
job comes, so that a worker without a model needs no torch."""

HANDLERS = {
    "fit": "tercih.worker.fit:fit",
    "without": "tercih.worker.without:without",
    "scores": "tercih.worker.scores:scores",
    "chat": "tercih.worker.chat:chat",
    "clip": "tercih.worker.clip:clip",
    "act": "tercih.worker.act:act",
}
