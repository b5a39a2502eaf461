{{/* Names of objects, at most 50 characters so that suffixes fit. */}}
{{- define "mailboat.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Labels of every object. Call: (dict "root" $ "component" "operator"). */}}
{{- define "mailboat.labels" -}}
{{ include "mailboat.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name (.root.Chart.Version | replace "+" "_") }}
{{- end -}}

{{/* Labels that select pods: they never change. */}}
{{- define "mailboat.selector" -}}
app.kubernetes.io/name: mailboat
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "mailboat.operatorName" -}}
{{ include "mailboat.fullname" . }}-operator
{{- end -}}

{{- define "mailboat.natsName" -}}
{{ include "mailboat.fullname" . }}-nats
{{- end -}}

{{- define "mailboat.serviceAccountName" -}}
{{ default (include "mailboat.operatorName" .) .Values.operator.serviceAccount.name }}
{{- end -}}

{{/* Reference of one of our images. Call: (dict "root" $ "image" .Values.operator.image). */}}
{{- define "mailboat.image" -}}
{{- $common := .root.Values.image -}}
{{- $name := .image.repository -}}
{{- if $common.registry -}}{{- $name = printf "%s/%s" (trimSuffix "/" $common.registry) $name -}}{{- end -}}
{{- if .image.digest -}}
{{- printf "%s@%s" $name .image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (coalesce .image.tag $common.tag .root.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- define "mailboat.natsImage" -}}
{{- $image := .Values.nats.image -}}
{{- if $image.registry -}}{{- trimSuffix "/" $image.registry }}/{{ end -}}
{{- $image.repository }}:{{ $image.tag -}}
{{- end -}}

{{/* Pod and container of the Restricted profile. */}}
{{- define "mailboat.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "mailboat.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Pods of one component on different nodes, where that is possible. Call as mailboat.labels. */}}
{{- define "mailboat.apart" -}}
podAntiAffinity:
  preferredDuringSchedulingIgnoredDuringExecution:
    - weight: 100
      podAffinityTerm:
        topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels:
            {{- include "mailboat.selector" . | nindent 12 }}
{{- end -}}

{{/* Where pods may run. Call: (dict "root" $ "component" "operator" "pod" .Values.operator). */}}
{{- define "mailboat.placement" -}}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .pod.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .pod.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .pod.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
affinity:
  {{- if .pod.affinity }}
  {{- toYaml .pod.affinity | nindent 2 }}
  {{- else }}
  {{- include "mailboat.apart" . | nindent 2 }}
  {{- end }}
{{- end -}}
