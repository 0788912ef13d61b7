{{/* Labels and annotations of what `helm test` makes; takes the context and the weight by which hooks follow each other. */}}
{{- define "arcface.testMetadata" -}}
labels:
  {{- merge (dict "app.kubernetes.io/component" "test") (include "arcface.labels" .context | fromYaml) (.labels | default dict) | toYaml | nindent 2 }}
annotations:
  {{- with .annotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  helm.sh/hook: test
  helm.sh/hook-weight: {{ .weight | quote }}
  helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}

{{/* Namespace of the jobs of `helm test`: the first that the operator looks at, or its own. */}}
{{- define "arcface.testNamespace" -}}
{{- first (concat (.Values.namespaces | default list) (list .Release.Namespace)) }}
{{- end }}

{{/* A pod that waits until a job is in a phase; takes context, weight, the pod's name, job, phase and seconds. */}}
{{- define "arcface.testPod" -}}
apiVersion: v1
kind: Pod
metadata:
  name: {{ .name }}
  namespace: {{ .context.Release.Namespace }}
  {{- $own := dict "labels" .context.Values.podLabels "annotations" .context.Values.podAnnotations }}
  {{- include "arcface.testMetadata" (merge $own .) | nindent 2 }}
{{- with .context }}
spec:
  restartPolicy: Never
  # The account whose rights the operator acts with; reading jobs is one of them.
  serviceAccountName: {{ include "arcface.serviceAccount" . }}
  automountServiceAccountToken: true
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .Values.podSecurityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
  - name: test
    image: {{ include "arcface.image" (dict "values" .Values.image "key" "image" "name" "operator" "version" .Chart.AppVersion) }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    command: [arcface, await, {{ $.job }}]
    args: [--namespace={{ include "arcface.testNamespace" . }}, --phase={{ $.phase }}, --seconds={{ $.seconds }}]
    {{- with .Values.securityContext }}
    securityContext:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    resources:
      {{- toYaml .Values.resources | nindent 6 }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}
