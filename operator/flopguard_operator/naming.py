"""Own every name, label and annotation that flopguard creates or reads.

No other module spells one of these, so a rename is one line and a search for a label
finds all of its users. Pure data: this module imports nothing.
"""

GROUP = "flopguard.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

RUN_KIND, RUN_PLURAL = "FineTuneRun", "finetuneruns"
PROGRAM_KIND, PROGRAM_PLURAL = "FineTuneProgram", "finetuneprograms"
DECISION_KIND, DECISION_PLURAL = "ThresholdDecision", "thresholddecisions"

# On pod templates (by the user: binds a continuation job) and pods (by injection).
RUN_LABEL = f"{GROUP}/run"
# On a namespace, by an administrator: "false" leaves pods alone that belong to no run.
GOVERNED_LABEL = f"{GROUP}/governed"
# On a pod that was looked at and left alone: the sentence that says why.
NOT_INJECTED_ANNOTATION = f"{GROUP}/not-injected"

# On the workload, written at every warning, hold and release.
STATE_ANNOTATION = f"{GROUP}/state"
USED_ANNOTATION = f"{GROUP}/used"
LIMIT_ANNOTATION = f"{GROUP}/limit"
REASON_ANNOTATION = f"{GROUP}/reason"

# On a run that holds a workload: deleting the run does not lift the hold.
HOLD_FINALIZER = f"{GROUP}/hold"

# Field manager of our writes, and source of our Events.
MANAGER = "flopguard"

# Labels of the Job controller (kubernetes.io/docs/reference/labels-annotations-taints).
JOB_NAME_LABEL = "batch.kubernetes.io/job-name"
JOB_UID_LABEL = "batch.kubernetes.io/controller-uid"

# What injection adds to a pod.
INSTALL_CONTAINER = "flopguard-install"
SIDECAR_CONTAINER = "flopguard-sidecar"
VOLUME = "flopguard"
MOUNT_PATH = "/flopguard"
HOOK_PATH = f"{MOUNT_PATH}/hook"
PAGES_PATH = f"{MOUNT_PATH}/pages"
SIDECAR_PORT = 9464
SIDECAR_PORT_NAME = "flopguard"

# Counting categories, in the order of every table (design: categories).
CATEGORIES = ("forward", "backward", "recompute", "no_grad", "optimizer")
