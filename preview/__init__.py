"""Turn the engine's events of `pulumi preview` into a report and a note for a merge request.

The template `templates/pulumi-preview` contains the text of these modules, because an include of a
component brings only YAML. So a job downloads nothing, and the modules have the template's version.
They use only the standard library. `python -m preview --help` shows the command line.
"""
