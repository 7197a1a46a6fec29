"""Annotated projects: images with objects drawn on them, their formats, reading, writing, checking, counting.

- ``figures``: objects, classes, tags and their JSON; values and arrays, no files.
- ``project``, ``writer``: projects read and written as folders; ``images``, ``image_output``: their images.
- ``exchange``, ``formats``: import from other formats and export to them.
- ``check``, ``stats``, ``preview``: what is wrong with a project, what is in it, pictures to look at.
"""
