{{/* What every pod of ours is held to: Pod Security, level restricted. */}}
{{- define "consilium.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "consilium.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* What every container begins with: (list $ "name" resources). A namespace with a quota takes none that names no resources. */}}
{{- define "consilium.container" -}}
name: {{ index . 1 }}
image: {{ include "consilium.image" (first .) | quote }}
imagePullPolicy: {{ (first .).Values.image.pullPolicy }}
securityContext:
  {{- include "consilium.containerSecurity" . | nindent 2 }}
{{- with last . }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What every pod begins with. Without service links: Kubernetes would write variables that look like settings. */}}
{{- define "consilium.pod" -}}
enableServiceLinks: false
securityContext:
  {{- include "consilium.podSecurity" . | nindent 2 }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Where a pod may run, from a service's values. */}}
{{- define "consilium.placement" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{/* Apart from one another, as far as there is room. */}}
{{- define "consilium.spread" -}}
{{- $root := first . -}}{{- $service := last . -}}
{{- if $root.Values.topologySpread }}
topologySpreadConstraints:
  {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "consilium.selector" $root | nindent 8 }}
  {{- end }}
{{- end }}
{{- if and $root.Values.consensusApart (eq $service "consensus") }}
affinity:
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          namespaceSelector: {}
          labelSelector:
            matchLabels:
              app.kubernetes.io/name: consilium
              app.kubernetes.io/component: consensus
              consilium.io/alliance: {{ $root.Values.alliance.name | quote }}
{{- end }}
{{- end }}

{{/* The keys that a service uses, and no others. */}}
{{- define "consilium.keys" -}}
{{- $names := dict "identity" "member authority.crt authority.key" "consensus" "member consensus reveals" "storage" "member" "reencryption" "member sealing" -}}
{{- index $names . | default "" -}}
{{- end }}

{{/* Of those, the ones that change together. */}}
{{- define "consilium.nextKeys" -}}
{{- $names := dict "identity" "member" "consensus" "member consensus reveals" "storage" "member" "reencryption" "member" -}}
{{- index $names . | default "" -}}
{{- end }}

{{/* The volumes of a service: (list $ "ledger"). */}}
{{- define "consilium.volumes" -}}
{{- $root := first . -}}{{- $service := last . -}}{{- $v := $root.Values -}}
- name: tmp
  emptyDir: {}
- name: genesis
  configMap:
    name: {{ include "consilium.genesis" $root }}
{{- with include "consilium.keys" $service }}
- name: keys
  projected:
    defaultMode: 0440
    sources:
      - secret:
          name: {{ $v.member.keys.existingSecret | quote }}
          items:
            {{- range splitList " " . }}
            - {key: {{ . }}, path: {{ . }}}
            {{- end }}
      {{- $next := include "consilium.nextKeys" $service }}
      {{- if and $v.member.keys.nextSecret $next }}
      - secret:
          name: {{ $v.member.keys.nextSecret | quote }}
          items:
            {{- range splitList " " $next }}
            - {key: {{ . }}, path: next/{{ . }}}
            {{- end }}
      {{- end }}
{{- end }}
{{- if ne $service "identity" }}
- name: tls
  {{- include "consilium.tlsVolume" . | nindent 2 }}
{{- end }}
{{- if and (eq $service "storage") (eq $v.storage.objects "cassandra") }}
{{ include "consilium.cassandraVolume" (list $root $v.storage.cassandra.auth.existingSecret) }}
{{- end }}
{{- end }}

{{/* A service's TLS files: whom to trust is always identity's word, in its own Secret. */}}
{{- define "consilium.tlsVolume" -}}
{{- $root := first . -}}{{- $service := last . -}}{{- $tls := $root.Values.tls -}}
{{- $written := printf "%s-tls-%s" (include "consilium.fullname" $root) $service -}}
{{- if eq $tls.mode "identity" -}}
secret:
  secretName: {{ $written }}
  defaultMode: 0440
{{- else -}}
projected:
  defaultMode: 0440
  sources:
    - secret:
        {{- $issued := printf "%s-certificate-%s" (include "consilium.fullname" $root) $service }}
        name: {{ ternary $issued (index $tls.existingSecrets $service) (eq $tls.mode "certManager") }}
        items:
          - {key: tls.crt, path: tls.crt}
          - {key: tls.key, path: tls.key}
    - secret:
        name: {{ $written }}
        items:
          - {key: authorities.pem, path: authorities.pem}
          - {key: revoked, path: revoked}
{{- end }}
{{- end }}

{{/* Password and TLS files for the database: (list $ "secret with the password"). */}}
{{- define "consilium.cassandraVolume" -}}
{{- $c := (first .).Values.storage.cassandra -}}
- name: cassandra
  projected:
    defaultMode: 0440
    sources:
      - secret:
          name: {{ last . | quote }}
          items:
            - {key: {{ $c.auth.passwordKey | quote }}, path: password}
      - secret:
          name: {{ $c.tls.existingSecret | quote }}
          items:
            - {key: {{ $c.tls.certKey | quote }}, path: tls.crt}
            - {key: {{ $c.tls.keyKey | quote }}, path: tls.key}
            - {key: {{ $c.tls.caKey | quote }}, path: authorities.pem}
{{- end }}

{{/* Where a service's volumes are mounted. */}}
{{- define "consilium.mounts" -}}
{{- $root := first . -}}{{- $service := last . -}}
- {name: tmp, mountPath: /tmp}
- {name: state, mountPath: /var/lib/consilium}
- {name: genesis, mountPath: /etc/consilium/genesis, readOnly: true}
{{- if include "consilium.keys" $service }}
- {name: keys, mountPath: /etc/consilium/keys, readOnly: true}
{{- end }}
{{- if ne $service "identity" }}
- {name: tls, mountPath: /etc/consilium/tls, readOnly: true}
{{- end }}
{{- if and (eq $service "storage") (eq $root.Values.storage.objects "cassandra") }}
- {name: cassandra, mountPath: /etc/consilium/cassandra, readOnly: true}
{{- end }}
{{- end }}

{{/* The pod of a client: test pods and the desk, as the member's administrator: (list $ "name"). */}}
{{- define "consilium.clientLabels" -}}
{{ include "consilium.selector" (first .) }}
app.kubernetes.io/component: {{ last . }}
{{ include "consilium.whose" (first .) }}
consilium.io/client: "true"
{{- end }}

{{- define "consilium.clientMounts" -}}
- {name: tmp, mountPath: /tmp}
- {name: genesis, mountPath: /etc/consilium/genesis, readOnly: true}
- {name: credential, mountPath: /etc/consilium/credential, readOnly: true}
{{- end }}

{{- define "consilium.clientVolumes" -}}
- name: tmp
  emptyDir: {}
- name: genesis
  configMap:
    name: {{ include "consilium.genesis" . }}
- name: credential
  secret:
    secretName: {{ include "consilium.fullname" . }}-administrator
    defaultMode: 0440
{{- end }}

{{/* What backup and drill need to reach the backup, from its values; with (list values readOnly) the place itself. */}}
{{- define "consilium.backupEnvironment" -}}
{{- if hasPrefix "s3" .place }}
{{- $secret := .existingSecret }}
{{- range list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" }}
- name: {{ . }}
  valueFrom:
    secretKeyRef: {name: {{ $secret | quote }}, key: {{ . }}}
{{- end }}
{{- end }}
{{- end }}

{{- define "consilium.backupMounts" -}}
- {name: key, mountPath: /etc/consilium/backup, readOnly: true}
{{- if (first .).existingClaim }}
- {name: backup, mountPath: /backup, readOnly: {{ last . }}}
{{- end }}
{{- end }}

{{- define "consilium.backupVolumes" -}}
- name: key
  secret:
    secretName: {{ (first .).existingSecret | quote }}
    defaultMode: 0440
    items:
      - {key: backup.key, path: backup.key}
{{- with (first .).existingClaim }}
- name: backup
  persistentVolumeClaim:
    claimName: {{ . }}
    readOnly: {{ last $ }}
{{- end }}
{{- end }}
